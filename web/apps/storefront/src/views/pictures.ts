/** A picture for a product that has none: a line drawing by its kind, on a ground of its own color. */

import { type ProductRow } from "pocketrec-web";

import { styled } from "../dom.js";

const SVG = "http://www.w3.org/2000/svg";

/** Words of a product's kind -> the strokes of its drawing, in a square of 24. The first that fits is taken. */
const DRAWINGS: readonly (readonly [RegExp, string])[] = [
  [/floor lamp/, "M8 4h8l2 6H6zM12 10v10M8 20.500h8"],
  [/lamp|lantern/, "M9 4h6l3 7H6zM12 11v6M8 20h8M10 17h4"],
  [/bulb/, "M9 17h6M10 20h4M12 3a6 6 0 0 0-3 11.200V17h6v-2.800A6 6 0 0 0 12 3z"],
  [/sofa/, "M4 11v7h16v-7M4 11a2 2 0 0 1 4 0v3h8v-3a2 2 0 0 1 4 0M7 9V7a2 2 0 0 1 2-2h6a2 2 0 0 1 2 2v2M6 18v2M18 18v2"],
  [/chair/, "M7 3v11h10V3M7 8h10M7 14l-1 7M17 14l1 7M8 17.500h8"],
  [/desk|table|nightstand/, "M3 8h18M5 8v12M19 8v12M3 8l2-3h14l2 3M5 13h14"],
  [/bookcase|storage/, "M5 3h14v18H5zM5 9h14M5 15h14M8 4v5M11 4v5M14 10v5M8 16v5"],
  [/mug|tea\b|kettle|coffee/, "M5 8h11v8a4 4 0 0 1-4 4H9a4 4 0 0 1-4-4zM16 10h2a2.500 2.500 0 0 1 0 5h-2M8 3v2M11 3v2M14 3v2"],
  [/knife|spatula|sharpener/, "M4 20 14 10M14 10l5-7c2 4 1 8-3 10zM4 20l3-1"],
  [/pan\b|saucepan|oven|pot\b(?!t)|cookware/, "M3 11h13v5a3 3 0 0 1-3 3H6a3 3 0 0 1-3-3zM16 12h5M6 8V6M9.500 8V5M13 8V6"],
  [/mitt|glove/, "M8 21v-4l-3-5 2-1.500L9 13V5.500a1.500 1.500 0 0 1 3 0V10h3a3 3 0 0 1 3 3v4l-1 4zM8 18h9"],
  [/soap|detergent|shampoo/, "M8 10h8l1 3v8H7v-8zM10 10V6h4v4M10 6V4h5l1 1.500M9.500 15h5"],
  [/paper/, "M6 4h9a3 3 0 0 1 3 3v8H9V7a3 3 0 0 0-3-3 3 3 0 0 0 0 6h3M9 15v5h9v-5M12 9h3"],
  [/sponge|cat litter/, "M4 9h16v9H4zM7 12h.1M11 11.500h.1M15 12.500h.1M8.500 15h.1M13 15h.1M17 15.500h.1M6 9c0-3 3-3 4-4 1 2 4 1 5 4"],
  [/board/, "M6 8h12v13H6zM10 8V5a2 2 0 0 1 4 0v3M9 12h6M9 16h6"],
  [/cable/, "M9 3v4M15 3v4M7 7h10v3a5 5 0 0 1-10 0zM12 15v2a3 3 0 0 1-3 3H4"],
  [/cup|blender|bakeware|sheet/, "M6 4h12l-1.500 16h-9zM6.500 9h11M9 13h6"],
  [/boot|shoe|sneaker/, "M4 6v11h16v-2c0-2-2-3-5-3.500L11 8V6zM4 14h16M12 10l2-1M14 11.500l2-1"],
  [/beanie/, "M5 16v-3a7 7 0 0 1 14 0v3M4 16h16v4H4zM12 6V4"],
  [/sock/, "M9 3h6v9l-1 2-6 5.500a2.800 2.800 0 0 1-4-4L9 11zM9 7h6"],
  [/jean|pants/, "M7 3h10l1.500 18H14l-2-11-2 11H5.500zM7 6.500h10"],
  [/belt|scarf/, "M3 10h18v4H3zM9 8h5v8H9zM11.500 12H18"],
  [/jacket|hoodie|sweater|shirt|clothing/, "M8 3 3 6.500l2 5L7 11v10h10V11l2 .5 2-5L16 3c-1 3-7 3-8 0z"],
  [/headphone/, "M4 15v-2a8 8 0 0 1 16 0v2M4 14h3v6H5a1 1 0 0 1-1-1zM20 14h-3v6h2a1 1 0 0 0 1-1z"],
  [/earbud/, "M7 4a3 3 0 0 1 3 3v4a2 2 0 0 1-2 2 4 4 0 0 1-1-9zM8 13v7M17 4a3 3 0 0 0-3 3v4a2 2 0 0 0 2 2 4 4 0 0 0 1-9zM16 13v7"],
  [/speaker/, "M7 3h10v18H7zM12 17a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM12 7.500a.5.5 0 1 0 0-1 .5.5 0 0 0 0 1z"],
  [/keyboard/, "M3 7h18v10H3zM6 10h.5M9 10h.5M12 10h.5M15 10h.5M18 10h.5M7 14h10"],
  [/mouse/, "M12 3a5 5 0 0 1 5 5v8a5 5 0 0 1-10 0V8a5 5 0 0 1 5-5zM12 6v4"],
  [/monitor|computing/, "M3 4h18v12H3zM12 16v4M8 20h8"],
  [/phone|screen/, "M8 3h8a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM11 18h2"],
  [/batter|bank|charger|power/, "M5 8h13v8H5zM18 10.500h2v3h-2M12 9l-2.500 3.500h3L10 15.500"],
  [/curtain/, "M3 4h18M5 4c0 8-1 12-1 16h5c1-5 2-9 2-16M19 4c0 8 1 12 1 16h-5c-1-5-2-9-2-16"],
  [/rug|mat\b|towel/, "M4 6h16v12H4zM4 9h16M4 15h16M6 18v2M10 18v2M14 18v2M18 18v2"],
  [/pillow|blanket|duvet|textile/, "M5 6c4 1 10 1 14 0 1 4 1 8 0 12-4-1-10-1-14 0-1-4-1-8 0-12zM9 10l6 4"],
  [/candle/, "M8 10h8v11H8zM12 10V8M12 3c2 2 2 4 0 5-2-1-2-3 0-5z"],
  [/clock/, "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3.500 2"],
  [/umbrella/, "M12 3a9 9 0 0 0-9 9h18a9 9 0 0 0-9-9zM12 12v7a2 2 0 0 0 4 0"],
  [/shears|tools/, "M7 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM17 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM8 16.500 15 3M16 16.500 9 3"],
  [/hose|water(?!proof)|bottle|can\b/, "M12 3c4 5 6 8 6 11a6 6 0 0 1-12 0c0-3 2-6 6-11zM9 14a3 3 0 0 0 3 3"],
  [/bird/, "M4 13c0-4 3-7 7-7 3 0 4 2 4 3l5 1-4 2c0 5-4 7-8 7H3l3-3c-1-1-2-2-2-3zM11.500 9.500h.1"],
  [/plant|soil|garden/, "M7 14h10l-1 7H8zM12 14V8M12 9C12 6 9 4 6 4c0 3 2 5 6 5zM12 11c0-3 3-5 6-5 0 3-2 5-6 5z"],
  [/tent/, "M12 4 3 20h18zM12 4v6M9 20l3-6 3 6"],
  [/backpack|sleeping|bag/, "M6 10a6 6 0 0 1 12 0v10H6zM9 4.800V3h6v1.800M9 14h6v4H9zM9 10h6"],
  [/dumbbell|fitness|resistance/, "M3 10v4M6 7v10M18 7v10M21 10v4M6 12h12"],
  [/yoga/, "M4 18a4 4 0 0 1 4-4h12v4H8M8 18a2 2 0 1 1-4 0M20 14V8H9"],
  [/protein|treat|food|seed/, "M6 7h12v14H6zM5 3h14v4H5zM9 12h6v5H9z"],
  [/cat|dog|pet/, "M12 12c3 0 6 4 5 7-1 2-3 0-5 0s-4 2-5 0c-1-3 2-7 5-7zM5.500 12.500a1.500 2 0 1 0 0-.1zM8.500 7a1.500 2 0 1 0 0-.1zM14 7a1.500 2 0 1 0 0-.1zM17 12.500a1.500 2 0 1 0 0-.1z"],
  [/puzzle|game/, "M4 8h5a2 2 0 1 1 4 0h5v5a2 2 0 1 0 0 4v4H4z"],
  [/block|building/, "M4 13h7v7H4zM13 13h7v7h-7zM8.500 4h7v7h-7z"],
  [/book/, "M4 5c3-1 6-1 8 1 2-2 5-2 8-1v14c-3-1-6-1-8 1-2-2-5-2-8-1zM12 6v14"],
  [/car\b|train|vehicle/, "M3 15v-3l3-1 2-4h7l3 4 3 1v3zM7.500 18a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM16.500 18a2 2 0 1 0 0-4 2 2 0 0 0 0 4z"],
  [/plush|animal/, "M12 9a5.500 5.500 0 1 1 0 11 5.500 5.500 0 0 1 0-11zM7.500 9.500a2.500 2.500 0 1 1 3-3M16.500 9.500a2.500 2.500 0 1 0-3-3M10 14h.1M14 14h.1M11 17h2"],
  [/marker|craft|clay/, "M4 20l1-5L16 4l4 4L9 19zM14 6l4 4"],
];

const PARCEL = "M4 8l8-4 8 4v9l-8 4-8-4zM4 8l8 4 8-4M12 12v9M8 6l8 4";

/** Names of colors as shops write them -> the hue, saturation and lightness of the ground. */
const COLORS: Readonly<Record<string, readonly [number, number]>> = {
  red: [4, 60], burgundy: [345, 45], pink: [340, 60], coral: [14, 65], orange: [28, 70], rust: [18, 50], copper: [22, 45],
  yellow: [46, 75], mustard: [44, 55], gold: [44, 50], beige: [38, 30], cream: [42, 35], tan: [32, 32], brown: [26, 30],
  walnut: [24, 28], oak: [34, 35], natural: [40, 25], green: [140, 38], olive: [72, 32], sage: [120, 18], mint: [158, 42],
  teal: [180, 42], turquoise: [176, 50], blue: [212, 55], navy: [222, 42], sky: [200, 60], purple: [275, 40],
  lavender: [262, 42], lilac: [280, 35], black: [220, 8], charcoal: [220, 8], gray: [215, 8], grey: [215, 8],
  silver: [210, 10], white: [210, 14], ivory: [48, 30], clear: [195, 22], rainbow: [310, 45], multicolor: [310, 45],
};

/** Return the picture of a product, for the eye only. */
export function pictureOf(product: ProductRow): HTMLElement {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", strokesFor(product));
  drawing.append(path);
  const ground = document.createElement("div");
  ground.className = "picture";
  ground.setAttribute("aria-hidden", "true");
  ground.append(drawing);
  const [hue, saturation] = groundFor(product);
  return styled(ground, { "--hue": String(hue), "--saturation": `${String(saturation)}%` });
}

function strokesFor(product: ProductRow): string {
  const [kind = "", ...rest] = (product.category ?? "").split(" > ").reverse();
  for (const text of [kind, product.title, ...rest]) {
    const found = DRAWINGS.find(([words]) => words.test(text.toLowerCase()));
    if (found !== undefined) return found[1];
  }
  return PARCEL;
}

function groundFor(product: ProductRow): readonly [number, number] {
  const words = (product.attributes["color"] ?? product.title).toLowerCase().match(/[a-z]+/g) ?? [];
  for (const word of words) {
    const found = Object.hasOwn(COLORS, word) ? COLORS[word] : undefined;
    if (found !== undefined) return found;
  }
  let hash = 7;
  for (const letter of product.brand ?? product.title) hash = (hash * 31 + letter.charCodeAt(0)) % 360;
  return [hash, 28];
}
