/** What this device does, beside the products: its speed, its bundle, what leaves it. */

import { type Feedback, type FeedbackStatus, type Installed, type Privacy, reasonOf, type Recommender } from "pocketrec-web";

import { make, toast } from "../dom.js";
import { bytes, count, counted, milliseconds } from "../formats.js";
import { isOnline } from "../network.js";
import { type Latencies } from "./latencies.js";

const LEVELS: readonly (readonly [Privacy, string])[] = [
  ["off", "nothing"],
  ["events", "what I click, not what I type"],
  ["full", "what I click and type"],
];

/** Where the panel's news comes from. */
export interface PanelFacts {
  readonly recommender: Recommender | null;
  readonly installed: Installed | null;
  readonly release: number | null;
  readonly readyAfterMs: number | null;
}

/** The panel; each part is replaced when its news comes. */
export class DevicePanel {
  private readonly speed = make("section");
  private readonly bundle = make("section.bundle");
  private readonly feedback = make("section.feedback");

  constructor(panel: HTMLElement, ranking: HTMLElement) {
    const details = make("details", { open: matchMedia("(min-width: 60rem)").matches });
    details.append(make("summary", {}, make("h2", {}, "This device")), this.speed, this.bundle, ranking, this.feedback);
    panel.replaceChildren(details);
  }

  /** Show the speed of the last searches. */
  showSpeed(latencies: Latencies): void {
    this.speed.replaceChildren(latencies.shown());
  }

  /** Show which bundle answers. */
  showBundle({ recommender, installed, release, readyAfterMs }: PanelFacts): void {
    if (recommender === null) return;
    const { manifest, bundleId } = recommender.bundle;
    const size = manifest.artifacts.reduce((sum, artifact) => sum + artifact.lengthBytes, 0);
    const rows: [string, string][] = [
      ["version", release === null ? bundleId.slice(0, 8) : `release ${String(release)} · ${bundleId.slice(0, 8)}`],
      ["products", count(recommender.length)],
      ["size", bytes(size)],
      ["built", manifest.createdAt.replace("T", " ").slice(0, 16)],
      ["ready after", readyAfterMs === null ? "–" : milliseconds(readyAfterMs)],
      ["came from", origin(installed)],
    ];
    if (installed !== null) {
      const { answers, worstCosine } = installed.proof;
      rows.push(["proved by", `${counted(answers, "golden answer")}, cosine ≥ ${floored(worstCosine)}`]);
    }
    this.bundle.replaceChildren(
      make("h3", {}, "Bundle"),
      make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    );
  }

  /** Show what leaves this device. */
  showFeedback(status: FeedbackStatus, feedback: Feedback): void {
    const choices = LEVELS.map(([level, text]) => privacyChoice(level, text, status, feedback));
    const said = [counted(status.sent, "event") + " sent", `${count(status.waiting)} waiting`];
    const line = make("p.small", {}, said.join(" · "), isOnline() ? null : " (offline)");
    const trouble = status.trouble === null ? null : make("p.small.trouble", {}, status.trouble);
    const form = status.enrolled || status.privacy === "off" ? null : enrollment(feedback);
    const parts = [make("fieldset", {}, make("legend", {}, "May leave this device"), ...choices), line, trouble, form];
    // A code that is being typed must not be lost to the news of a click.
    if (form !== null && this.feedback.contains(document.activeElement)) return;
    this.feedback.replaceChildren(
      make("h3", {}, "Feedback"),
      ...parts.filter((part): part is HTMLElement => part !== null),
    );
  }
}

function origin(installed: Installed | null): string {
  if (installed === null) return "this browser's store";
  const { bytesDownloaded, filesDownloaded, filesReused } = installed;
  const reused = filesReused > 0 ? `, ${count(filesReused)} reused` : "";
  return `${counted(filesDownloaded, "file")}, ${bytes(bytesDownloaded)}${reused}`;
}

/** Return a cosine rounded down, so that the text never claims more than was found. */
function floored(cosine: number): string {
  return (Math.floor(cosine * 10_000) / 10_000).toFixed(4);
}

function privacyChoice(level: Privacy, text: string, status: FeedbackStatus, feedback: Feedback): HTMLElement {
  const input = make("input", {
    type: "radio",
    name: "privacy",
    value: level,
    checked: status.privacy === level,
    onchange: () => void feedback.allow(level),
  });
  return make("label", {}, input, " ", text);
}

function enrollment(feedback: Feedback): HTMLElement {
  const code = make("input", { name: "code", placeholder: "one-time code", autocomplete: "off", "aria-label": "One-time code" });
  const form = make(
    "form.enroll",
    {},
    make("p.small", {}, "Events wait here until this browser is enrolled with a code of the server."),
    code,
    make("button", { type: "submit" }, "Enroll"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    (document.activeElement as HTMLElement | null)?.blur();
    feedback
      .enroll((code as HTMLInputElement).value.trim())
      .then(() => toast("This browser is enrolled; what you allow goes out."))
      .catch((error: unknown) => toast(reasonOf(error), "trouble"));
  });
  return form;
}
