"""The web runtime in a module worker: the same package, without a page around it."""

from tests.support.live_server import LiveServer

WORKER = """
import { Recommender } from "/shop/pocketrec.js";
const answer = async () => {
    const shop = await Recommender.open(new URL("/v1/channels/stable/", location.href).href);
    const found = await shop.search("red lamp", { k: 3 });
    const { overlap } = await shop.prove();
    const recommended = await shop.recommend([found.productIds[0]], { k: 3 });
    return { searched: found.productIds, recommended: recommended.productIds, overlap };
};
answer().then((result) => postMessage(result), (error) => postMessage({ error: `${error.name}: ${error.message}` }));
"""

IN_A_WORKER = """
() => new Promise((resolve, reject) => {
    const worker = new Worker("/test-worker.js", { type: "module" });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
})
"""

ON_THE_PAGE = """
async () => {
    const { Recommender } = await import("/shop/pocketrec.js");
    const shop = await Recommender.open(new URL("/v1/channels/stable/", location.href).href);
    const found = await shop.search("red lamp", { k: 3 });
    const recommended = await shop.recommend([found.productIds[0]], { k: 3 });
    return { searched: found.productIds, recommended: recommended.productIds, overlap: (await shop.prove()).overlap };
}
"""


def test_a_module_worker_opens_searches_and_recommends_as_the_page_does(page, server: LiveServer):
    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
    page.route("**/test-worker.js", lambda route: route.fulfill(body=WORKER, headers=headers))
    missing: list[str] = []
    page.on("response", lambda answer: missing.append(answer.url) if answer.status == 404 else None)
    page.goto(server.url + "/shop/")
    page.wait_for_selector("body[data-ready]")
    # The worker is isolated from other sites, where SQLite would look for a worker of its own.
    assert page.evaluate("crossOriginIsolated")
    answer = page.evaluate(IN_A_WORKER)
    assert answer == page.evaluate(ON_THE_PAGE)
    assert len(answer["searched"]) == len(answer["recommended"]) == 3
    assert answer["overlap"] == 1
    assert missing == []
