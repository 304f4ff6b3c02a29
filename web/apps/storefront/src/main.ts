/** The storefront: a small shop whose search, recommendations and explanations run in this browser. */

import {
  Feedback,
  type FeedbackStatus,
  Impressions,
  type Installed,
  type ProductRow,
  reasonOf,
  type Recommender,
  setWasmFolder,
} from "pocketrec-web";

import { find, toast } from "./dom.js";
import { bytes, counted } from "./formats.js";
import { noteLook } from "./history.js";
import { listenToKeys } from "./keyboard.js";
import { allowNetwork, isClosed, isOnline, onNetworkChange } from "./network.js";
import { Session } from "./session.js";
import { DevicePanel } from "./views/device_panel.js";
import { Latencies } from "./views/latencies.js";
import { showProduct } from "./views/product_dialog.js";
import { RankingChoice } from "./views/ranking_choice.js";
import { type Found, SearchView } from "./views/search_view.js";
import { startView } from "./views/start_view.js";

/** The sync server, whose path /shop/ this page is. */
const SERVER = new URL("../", document.baseURI).href;
const CHANNEL = /^[a-z0-9][a-z0-9-]{0,39}$/;

class Storefront {
  private readonly search = find<HTMLInputElement>("#query");
  private readonly start = find(".start");
  private readonly switch = find(".network");
  private readonly choice = new RankingChoice(() => void this.show());
  private readonly panel = new DevicePanel(find(".device"), this.choice.section);
  private readonly latencies = new Latencies();
  private readonly impressions = new Impressions((events) => this.feedback?.record(events));
  private readonly view = new SearchView({
    open: (productId, position) => this.open(productId, position),
    found: (found) => this.found(found),
    complete: (text) => this.ask(text),
    rankedElsewhere: async (query, k) => this.choice.rank(this.feedback, query, k),
  });
  private session: Session | null = null;
  private feedback: Feedback | null = null;

  async run(): Promise<void> {
    this.search.addEventListener("input", () => void this.show());
    find<HTMLFormElement>("form.search").addEventListener("submit", (event) => event.preventDefault());
    find("dialog.product").addEventListener("close", () => {
      if (this.search.value.trim() === "") void this.show();
    });
    listenToKeys(this.search);
    this.watchNetwork();
    this.panel.showSpeed(this.latencies);
    this.search.value = new URLSearchParams(location.search).get("q") ?? "";
    this.feedback = await Feedback.open({
      server: SERVER,
      isOnline,
      changed: (status) => this.showFeedback(status),
    });
    this.session = await Session.of(bundleUrl(), {
      opened: (recommender, installed) => this.opened(recommender, installed),
      trouble: (reason) => this.trouble(reason),
    });
    void this.enrollByLink();
    await this.session.start();
  }

  private get recommender(): Recommender | null {
    return this.session?.recommender ?? null;
  }

  private opened(recommender: Recommender, installed: Installed | null): void {
    const first = document.body.dataset["ready"] === undefined;
    document.body.dataset["ready"] = recommender.bundle.bundleId;
    const { release = null, readyAfterMs = null } = this.session ?? {};
    this.panel.showBundle({ recommender, installed, release, readyAfterMs });
    this.impressions.rankedBy(recommender.bundle.bundleId);
    if (!first && installed !== null) {
      const { bytesDownloaded, filesDownloaded, filesReused, proof } = installed;
      toast(
        `${release === null ? "A new bundle" : `Release ${String(release)}`} arrived and proved itself: ` +
          `${counted(filesDownloaded, "file")} (${bytes(bytesDownloaded)}) new, ${String(filesReused)} kept, ` +
          `${counted(proof.answers, "golden answer")} right.`,
      );
    }
    if (document.querySelector("dialog[open]") === null) void this.show();
  }

  private trouble(reason: string): void {
    if (this.recommender === null) {
      find(".status").textContent = `The shop cannot open: ${reason}`;
      document.body.dataset["trouble"] = "true";
    } else {
      toast(`An update was refused, the bundle from before goes on: ${reason}`, "trouble");
    }
  }

  private async show(): Promise<void> {
    const { recommender } = this;
    if (recommender === null) return;
    const query = this.search.value.trim();
    document.body.classList.toggle("searching", query !== "");
    if (query !== "") {
      await this.view.show(recommender, query);
      return;
    }
    this.view.clear();
    this.impressions.none();
    const parts = await startView(recommender, {
      open: (productId) => this.open(productId, null),
      search: (text) => this.ask(text),
      again: () => void this.show(),
    });
    if (this.search.value.trim() === "") this.start.replaceChildren(...parts);
  }

  private ask(text: string): void {
    this.search.value = text;
    this.search.focus();
    void this.show();
  }

  private found(found: Found): void {
    this.latencies.add(found.elapsedMs);
    this.panel.showSpeed(this.latencies);
    const { query, recommendations } = found;
    this.impressions.list({ query, productIds: recommendations.productIds }, this.recommender?.bundle.bundleId ?? "");
  }

  private open(productId: string, position: number | null): void {
    const { recommender } = this;
    if (recommender === null) return;
    noteLook(productId);
    this.feedback?.record([this.impressions.event("click", productId, position)]);
    const actions = { open: (id: string) => this.open(id, null), buy: (product: ProductRow) => this.buy(product) };
    void showProduct(recommender, productId, actions);
  }

  private buy(product: ProductRow): void {
    this.feedback?.record([this.impressions.event("purchase", product.productId, null)]);
    toast(`Bought (in this demonstration only): ${product.title}`);
  }

  private watchNetwork(): void {
    this.switch.addEventListener("click", () => {
      allowNetwork(isClosed());
      if (!isClosed()) void this.session?.refresh();
      this.showNetwork();
    });
    onNetworkChange((online) => {
      this.showNetwork();
      toast(online ? "Online again: feedback goes out, updates come in." : "Offline: everything goes on, on this device.");
      if (online) void this.feedback?.send();
    });
    this.showNetwork();
  }

  private showNetwork(): void {
    this.switch.setAttribute("aria-checked", String(!isClosed()));
    find(".network .says").textContent = isClosed() ? "switched off" : isOnline() ? "online" : "no network";
    document.body.classList.toggle("offline", !isOnline());
    if (this.feedback !== null) this.showFeedback(this.feedback.status);
  }

  private showFeedback(status: FeedbackStatus): void {
    if (this.feedback === null) return;
    this.panel.showFeedback(status, this.feedback);
    void this.choice.probe(this.feedback);
  }

  /** A link that ends in `#enroll=CODE` enrolls this browser; the part after # is never sent to a server by itself. */
  private async enrollByLink(): Promise<void> {
    const code = new URLSearchParams(location.hash.slice(1)).get("enroll");
    if (this.feedback !== null) this.showFeedback(this.feedback.status);
    if (code === null) return;
    history.replaceState(null, "", location.pathname + location.search);
    if (this.feedback === null || this.feedback.status.enrolled) return;
    try {
      await this.feedback.enroll(code);
      toast("This browser is enrolled; what you allow goes out.");
    } catch (error) {
      toast(reasonOf(error), "trouble");
    }
  }
}

/** Return where the bundle of the channel lies: `?channel=` names another than "stable". */
function bundleUrl(): string {
  const channel = new URLSearchParams(location.search).get("channel") ?? "stable";
  return new URL(`v1/channels/${CHANNEL.test(channel) ? channel : "stable"}/`, SERVER).href;
}

setWasmFolder(new URL("wasm/", document.baseURI).href);
if ("serviceWorker" in navigator) void navigator.serviceWorker.register("sw.js").catch(() => undefined);
void new Storefront().run();
