"""Commands on one bundle: search, browse, facets, suggest, recommend, similar, score, explain, prove, taste."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from edge_runtime.cli.commands import JSON, AddArguments, Command, all_of, argument, one_of, path
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from edge_runtime.recommender import MODES, Recommendations, Recommender
from edge_runtime.search.explanation import Explanation, HistoryExplanation
from edge_runtime.search.fair_ranking import ExposureBound, search_fairly
from edge_runtime.search.pipeline import POPULARITY, RELEVANCE, SORTS
from edge_runtime.search.user_profile import KINDS, PersonalTaste

_BUNDLE = all_of(
    path("bundle", "BUNDLE", "folder of the bundle"),
    JSON,
    argument("--threads", type=int, default=1, help="threads of one model call (default: 1)"),
)
_FACETS = (*(column.name for column in PRODUCT_COLUMNS if column.facets), "attributes.NAME")
_QUERY = argument("query", metavar="QUERY", help="what a person typed")
_K = argument("-k", type=int, default=10, help="how many products (default: 10)")
_WHERE = argument(
    "--where", metavar="JSON", help='filter, like \'{"brand": ["Acme", "Casa"], "price": {"gte": 5, "lt": 20}}\''
)
_EXCLUDE = argument("--exclude", nargs="+", default=[], metavar="ID", help="products that must not be returned")
_SELECTION = (_K, _WHERE, _EXCLUDE)
_MODE = argument("--mode", choices=MODES, default="hybrid", help="meaning and words, or one alone")
_OFFSET = argument("--offset", type=int, default=0, metavar="N", help="leave out the first N (default: 0)")


def _sort(default: str) -> AddArguments:
    return argument("--sort", choices=SORTS, default=default, help=f"order of the products (default: {default})")


def _search(args: argparse.Namespace) -> int:
    def ranked(shop: Recommender) -> Recommendations:
        options = {
            **_selection(args),
            "mode": args.mode,
            "taste": PersonalTaste(args.taste) if args.taste else None,
            "deadline_ms": args.deadline_ms,
        }
        if args.max_exposure_ratio is None:
            return shop.search(args.query, offset=args.offset, sort=args.sort, **options)
        if args.offset or args.sort != RELEVANCE:
            raise ConfigError("--max-exposure-ratio ranks the first page by relevance; leave out --offset and --sort")
        return search_fairly(shop, args.query, bound=ExposureBound(args.max_exposure_ratio), **options)

    return _answer(args, ranked)


def _answer(args: argparse.Namespace, ask: Callable[[Recommender], Recommendations]) -> int:
    with _open(args) as recommender:
        started = time.perf_counter()
        answer = ask(recommender)
        return _show(recommender, answer, args, seconds=time.perf_counter() - started)


def _selection(args: argparse.Namespace) -> dict[str, Any]:
    return {"k": args.k, "where": _where(args.where), "exclude": args.exclude}


def _browse(args: argparse.Namespace) -> int:
    return _answer(args, lambda shop: shop.browse(offset=args.offset, sort=args.sort, **_selection(args)))


def _facets(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        counted = recommender.facets(args.query, by=args.by, where=_where(args.where), limit=args.limit)
    lines = [[field, *(f"{one.products:8d}  {one.value}" for one in values)] for field, values in counted.items()]
    found = {field: [asdict(one) for one in values] for field, values in counted.items()}
    return _print(args, found, [line for field in lines for line in field])


def _suggest(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        found = recommender.suggest(args.prefix, k=args.k)
    return _print(args, {"suggestions": [asdict(one) for one in found]}, [f"{one.kind:<9} {one.text}" for one in found])


def _taste(args: argparse.Namespace) -> int:
    taste = PersonalTaste(args.file)
    if args.forget is not None:
        taste.forget(args.forget or None)
    for kind in KINDS:
        if getattr(args, kind):
            taste.add(getattr(args, kind), kind)
    events = taste.events
    return _print(
        args, {"events": [asdict(event) for event in events]}, [f"{one.kind:<9} {one.product_id}" for one in events]
    )


def _recommend(args: argparse.Namespace) -> int:
    args.exclude = [*args.exclude, *(args.history if args.new else [])]
    return _answer(args, lambda shop: shop.recommend(args.history, **_selection(args)))


def _similar(args: argparse.Namespace) -> int:
    return _answer(args, lambda shop: shop.similar(args.product_id, **_selection(args)))


def _score(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        scores = recommender.score(args.query, args.product_ids, mode=args.mode).tolist()
    pairs = list(zip(args.product_ids, scores, strict=True))
    result = {"query": args.query, "mode": args.mode, "scores": dict(pairs)}
    return _print(args, result, [f"{score:8.4f}  {product_id}" for product_id, score in pairs])


def _explain(args: argparse.Namespace) -> int:
    explanation: Explanation | HistoryExplanation
    with _open(args) as recommender:
        if args.query is not None:
            explanation = recommender.explain(args.query, args.product_id)
        else:
            explanation = recommender.explain_history(args.history, args.product_id)
        title = recommender.product(args.product_id).title
    if args.json:
        _print_json({"title": title, **asdict(explanation)})
        return 0
    print(f"{args.product_id}  {title}\nscore {explanation.score:.4f}", end="")
    if isinstance(explanation, Explanation):
        print(f" = meaning {explanation.dense_part:.4f} + words {explanation.lexical_part:.4f}")
        for word in explanation.words:
            read_as = f" (read as {', '.join(word.read_as)})" if word.read_as else ""
            fields = f"  in {', '.join(word.matched_fields)}" if word.matched_fields else ""
            print(f"{word.contribution:+8.4f}  {word.word}{read_as}{fields}")
    else:
        print()
        for item in explanation.items:
            print(f"{item.contribution:+8.4f}  {item.product_id}")
    return 0


def _prove(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        proof = recommender.prove()
        manifest, bundle_id = recommender.bundle.manifest, recommender.bundle.bundle_id
    files = len(manifest.artifacts)
    lines = [
        f"{manifest.name} ({bundle_id[:12]}): {files} files are whole, {proof.answers} golden answers",
        f"worst cosine {proof.worst_cosine:.4f}, {proof.overlap:.1%} of the expected products",
    ]
    return _print(args, {"name": manifest.name, "bundle_id": bundle_id, "files": files, **asdict(proof)}, lines)


def _open(args: argparse.Namespace) -> Recommender:
    return Recommender.open(args.bundle, num_threads=args.threads)


def _where(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        where = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f'--where takes JSON like {{"brand": "Acme"}}, found {text!r} ({error})') from error
    if not isinstance(where, dict):
        raise ConfigError(f'--where takes a JSON object like {{"brand": "Acme"}}, found {text!r}')
    return where


def _show(recommender: Recommender, answer: Recommendations, args: argparse.Namespace, *, seconds: float) -> int:
    rows = [
        {"rank": rank, "score": score, **asdict(recommender.product(product_id))}
        for rank, (product_id, score) in enumerate(zip(answer.product_ids, answer.scores.tolist(), strict=True), 1)
    ]
    if args.json:
        _print_json(
            {
                "products": rows,
                "corrections": answer.corrections,
                "unknown_history": answer.unknown_history,
                "cold_start": answer.cold_start,
                "level": answer.level,
                "latency_ms": round(seconds * 1000, 3),
            }
        )
        return 0
    _print_table(rows)
    for word, terms in answer.corrections.items():
        print(f"no product has {word!r}, looked for {' and '.join(terms)}", file=sys.stderr)
    if answer.cold_start:
        print("nothing is known here, so these are the most popular products", file=sys.stderr)
    print(f"{len(rows)} of {len(recommender)} products in {seconds * 1000:.2f} ms", file=sys.stderr)
    return 0


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    width = max((len(row["product_id"]) for row in rows), default=0)
    for row in rows:
        price = "" if row["price"] is None else f"{row['price']:.2f}"
        details = "  ".join(part for part in (row["title"][:70], row["brand"] or "", price) if part)
        print(f"{row['rank']:3d}  {row['score']:7.4f}  {row['product_id']:<{width}}  {details}")


def _print_json(value: dict[str, Any]) -> None:
    # An argument that is not UTF-8 reaches us as lone surrogates, which no output takes.
    print(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace").decode())


def _print(args: argparse.Namespace, result: dict[str, Any], lines: Sequence[str]) -> int:
    if args.json:
        _print_json(result)
    else:
        print(*lines, sep="\n", end="\n" if lines else "")
    return 0


search = Command(
    _search,
    _BUNDLE,
    _QUERY,
    _MODE,
    argument(
        "--max-exposure-ratio",
        type=float,
        metavar="R",
        help="no group (seller) takes more than R times the exposure that its merit earns; 1 or more",
    ),
    *_SELECTION,
    _OFFSET,
    _sort(RELEVANCE),
    argument("--deadline-ms", type=float, metavar="MS", help="answer by then with what is finished"),
    path("--taste", "FILE", "rank by this user's own events (pocketrec taste)"),
)
browse = Command(_browse, _BUNDLE, *_SELECTION, _OFFSET, _sort(POPULARITY))
facets = Command(
    _facets,
    _BUNDLE,
    argument("query", nargs="?", metavar="QUERY", help="what a person typed; none for the whole catalogue"),
    argument(
        "--by",
        nargs="+",
        default=["brand", "category", "price"],
        metavar="FIELD",
        help=", ".join(_FACETS),
    ),
    _WHERE,
    argument("--limit", type=int, default=10, metavar="N", help="values of each field (default: 10)"),
)
suggest = Command(
    _suggest,
    _BUNDLE,
    argument("prefix", metavar="PREFIX", help="what has been typed so far"),
    argument("-k", type=int, default=8, help="how many suggestions (default: 8)"),
)
taste = Command(
    _taste,
    path("file", "FILE", "where this device keeps the user's events"),
    JSON,
    one_of(
        *(
            argument(f"--{kind}", nargs="+", metavar="ID", help=f"keep that the user did this ({kind})")
            for kind in KINDS
        ),
        argument("--forget", nargs="*", metavar="ID", help="forget these products, or everything"),
    ),
)
recommend = Command(
    _recommend,
    _BUNDLE,
    argument("history", nargs="*", metavar="ID", help="purchased products, newest last; none for a cold start"),
    argument("--new", action="store_true", help="leave out the products of the history"),
    *_SELECTION,
)
similar = Command(_similar, _BUNDLE, argument("product_id", metavar="ID", help="the product"), *_SELECTION)
score = Command(
    _score,
    _BUNDLE,
    _QUERY,
    argument("product_ids", nargs="+", metavar="ID", help="the products, scored in this order"),
    _MODE,
)
explain = Command(
    _explain,
    _BUNDLE,
    argument("product_id", metavar="ID", help="the product whose place is explained"),
    one_of(
        argument("--query", help="why it ranks for this query"),
        argument("--history", nargs="+", metavar="ID", help="why it ranks for this history, newest last"),
        required=True,
    ),
)
prove = Command(_prove, _BUNDLE)
