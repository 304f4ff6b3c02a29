"""Commands on one bundle: search, browse, facets, suggest, recommend, similar, score, explain, prove, taste."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_runtime.contract.errors import ConfigError
from edge_runtime.recommender import MODES, Recommendations, Recommender
from edge_runtime.search.explanation import Explanation, HistoryExplanation
from edge_runtime.search.fair_ranking import ExposureBound, search_fairly
from edge_runtime.search.pipeline import POPULARITY, RELEVANCE, SORTS
from edge_runtime.search.user_profile import KINDS, PersonalTaste


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--threads", type=int, default=1, help="threads of one model call (default: 1)")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", type=int, default=10, help="how many products (default: 10)")
    parser.add_argument(
        "--where", metavar="JSON", help='filter, like \'{"brand": ["Acme", "Casa"], "price": {"gte": 5, "lt": 20}}\''
    )
    parser.add_argument("--exclude", nargs="+", default=[], metavar="ID", help="products that must not be returned")


def _add_search(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("query", metavar="QUERY", help="what a person typed")
    parser.add_argument("--mode", choices=MODES, default="hybrid", help="meaning and words, or one alone")
    parser.add_argument(
        "--max-exposure-ratio",
        type=float,
        metavar="R",
        help="no group (seller) takes more than R times the exposure that its merit earns; 1 or more",
    )
    _add_selection(parser)
    _add_page(parser, default=RELEVANCE)
    parser.add_argument("--deadline-ms", type=float, metavar="MS", help="answer by then with what is finished")
    parser.add_argument("--taste", type=Path, metavar="FILE", help="rank by this user's own events (pocketrec taste)")


def _add_page(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="leave out the first N (default: 0)")
    parser.add_argument("--sort", choices=SORTS, default=default, help=f"order of the products (default: {default})")


def _add_browse(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    _add_selection(parser)
    _add_page(parser, default=POPULARITY)


def _add_facets(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("query", nargs="?", metavar="QUERY", help="what a person typed; none for the whole catalogue")
    parser.add_argument(
        "--by",
        nargs="+",
        default=["brand", "category", "price"],
        metavar="FIELD",
        help="brand, category, group, price, attributes.NAME",
    )
    parser.add_argument("--where", metavar="JSON", help="filter, as for search")
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="values of each field (default: 10)")


def _add_suggest(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("prefix", metavar="PREFIX", help="what has been typed so far")
    parser.add_argument("-k", type=int, default=8, help="how many suggestions (default: 8)")


def _add_taste(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="where this device keeps the user's events")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    change = parser.add_mutually_exclusive_group()
    for kind in KINDS:
        change.add_argument(f"--{kind}", nargs="+", metavar="ID", help=f"keep that the user did this ({kind})")
    change.add_argument("--forget", nargs="*", metavar="ID", help="forget these products, or everything")


def _add_recommend(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument(
        "history", nargs="*", metavar="ID", help="purchased products, newest last; none for a cold start"
    )
    parser.add_argument("--new", action="store_true", help="leave out the products of the history")
    _add_selection(parser)


def _add_similar(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("product_id", metavar="ID", help="the product")
    _add_selection(parser)


def _add_score(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("query", metavar="QUERY", help="what a person typed")
    parser.add_argument("product_ids", nargs="+", metavar="ID", help="the products, scored in this order")
    parser.add_argument("--mode", choices=MODES, default="hybrid", help="meaning and words, or one alone")


def _add_explain(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("product_id", metavar="ID", help="the product whose place is explained")
    reason = parser.add_mutually_exclusive_group(required=True)
    reason.add_argument("--query", help="why it ranks for this query")
    reason.add_argument("--history", nargs="+", metavar="ID", help="why it ranks for this history, newest last")


def _search(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        started = time.perf_counter()
        where = _where(args.where)
        options: dict[str, Any] = {
            "k": args.k,
            "where": where,
            "exclude": args.exclude,
            "mode": args.mode,
            "taste": PersonalTaste(args.taste) if args.taste else None,
            "deadline_ms": args.deadline_ms,
        }
        if args.max_exposure_ratio is None:
            answer = recommender.search(args.query, offset=args.offset, sort=args.sort, **options)
        elif args.offset or args.sort != RELEVANCE:
            raise ConfigError("--max-exposure-ratio ranks the first page by relevance; leave out --offset and --sort")
        else:
            answer = search_fairly(recommender, args.query, bound=ExposureBound(args.max_exposure_ratio), **options)
        return _show(recommender, answer, args, seconds=time.perf_counter() - started)


def _browse(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        started = time.perf_counter()
        where = _where(args.where)
        answer = recommender.browse(k=args.k, offset=args.offset, where=where, exclude=args.exclude, sort=args.sort)
        return _show(recommender, answer, args, seconds=time.perf_counter() - started)


def _facets(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        counted = recommender.facets(args.query, by=args.by, where=_where(args.where), limit=args.limit)
    if args.json:
        _print_json({field: [asdict(one) for one in values] for field, values in counted.items()})
        return 0
    for field, values in counted.items():
        print(field)
        for one in values:
            print(f"{one.products:8d}  {one.value}")
    return 0


def _suggest(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        found = recommender.suggest(args.prefix, k=args.k)
    if args.json:
        _print_json({"suggestions": [asdict(one) for one in found]})
        return 0
    for one in found:
        print(f"{one.kind:<9} {one.text}")
    return 0


def _taste(args: argparse.Namespace) -> int:
    taste = PersonalTaste(args.file)
    if args.forget is not None:
        taste.forget(args.forget or None)
    for kind in KINDS:
        if getattr(args, kind):
            taste.add(getattr(args, kind), kind)
    if args.json:
        _print_json({"events": [asdict(event) for event in taste.events]})
        return 0
    for event in taste.events:
        print(f"{event.kind:<9} {event.product_id}")
    return 0


def _recommend(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        started = time.perf_counter()
        exclude = [*args.exclude, *(args.history if args.new else [])]
        answer = recommender.recommend(args.history, k=args.k, where=_where(args.where), exclude=exclude)
        return _show(recommender, answer, args, seconds=time.perf_counter() - started)


def _similar(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        started = time.perf_counter()
        answer = recommender.similar(args.product_id, k=args.k, where=_where(args.where), exclude=args.exclude)
        return _show(recommender, answer, args, seconds=time.perf_counter() - started)


def _score(args: argparse.Namespace) -> int:
    with _open(args) as recommender:
        scores = recommender.score(args.query, args.product_ids, mode=args.mode).tolist()
    if args.json:
        _print_json(
            {"query": args.query, "mode": args.mode, "scores": dict(zip(args.product_ids, scores, strict=True))}
        )
    else:
        for product_id, score in zip(args.product_ids, scores, strict=True):
            print(f"{score:8.4f}  {product_id}")
    return 0


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
    if args.json:
        _print_json({"name": manifest.name, "bundle_id": bundle_id, "files": len(manifest.artifacts), **asdict(proof)})
    else:
        print(
            f"{manifest.name} ({bundle_id[:12]}): {len(manifest.artifacts)} files are whole, {proof.answers} golden answers"
        )
        print(f"worst cosine {proof.worst_cosine:.4f}, {proof.overlap:.1%} of the expected products")
    return 0


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


COMMANDS = {
    "search": (_add_search, _search),
    "browse": (_add_browse, _browse),
    "facets": (_add_facets, _facets),
    "suggest": (_add_suggest, _suggest),
    "taste": (_add_taste, _taste),
    "recommend": (_add_recommend, _recommend),
    "similar": (_add_similar, _similar),
    "score": (_add_score, _score),
    "explain": (_add_explain, _explain),
    "prove": (_add_bundle, _prove),
}
