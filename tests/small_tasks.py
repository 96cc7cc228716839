"""A small retrieval task and a small reranking task, as files and as dictionaries."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fastrag_quant.bench.local_task import LocalTask

DOCUMENTS = {
    "raise": "The raise statement signals that an error has happened by throwing an exception.",
    "for": "The for statement repeats a block of code for every item of a sequence.",
    "while": "The while statement repeats a block of code as long as a condition holds.",
    "import": "The import statement finds a module, loads it and binds its name.",
    "from": "With from, an import binds names of a module instead of the module.",
    "lambda": "A lambda expression makes a small anonymous function.",
    "def": "A function definition binds a name to a function.",
    "del": "The del statement removes a name or an item of a list.",
    "assert": "Assert statements put debugging checks into a program.",
    "class": "A class definition creates a new type of objects, with methods and inheritance.",
    "global": "The global statement lets a function rebind variables of its module.",
    "nonlocal": "The nonlocal statement lets a function rebind variables of an enclosing function.",
}
QUERIES = {
    "q1": "How do I throw an exception?",
    "q2": "loop over all elements of a list",
    "q3": "load another module",
    "q4": "function without a name",
    "q5": "change a variable that is not mine",
    "q6": "stop when something is wrong",
}
# Some of it beside the obvious, so that a perfect score is not to be had.
RELEVANCE = {
    "q1": {"raise": 2, "assert": 1},
    "q2": {"for": 1, "while": 1},
    "q3": {"import": 1, "from": 1, "class": 1},
    "q4": {"lambda": 2, "def": 1},
    "q5": {"nonlocal": 1, "global": 1, "del": 1},
    "q6": {"assert": 1, "while": 1},
}


@pytest.fixture
def statements() -> LocalTask:
    """The retrieval task."""
    return LocalTask("python-statements", QUERIES, DOCUMENTS, RELEVANCE)


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """The retrieval task as a folder in BEIR layout, partly gzipped, with a query that nothing answers."""
    folder = tmp_path / "python-statements"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": name, "title": "", "text": text} for name, text in DOCUMENTS.items()]
    queries = [{"_id": name, "text": text} for name, text in {**QUERIES, "q0": "unjudged"}.items()]
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in corpus)
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    judged = [f"{query}\t{name}\t{score}\n" for query in RELEVANCE for name, score in RELEVANCE[query].items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged) + "q0\traise\t0\n")
    return folder


@pytest.fixture
def reranking(tmp_path: Path) -> Path:
    """The same queries, each with its relevant documents and three others to tell apart."""
    path = tmp_path / "statements.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for query, relevant in RELEVANCE.items():
            others = [name for name in DOCUMENTS if name not in relevant][:3]
            row = {
                "query": QUERIES[query],
                "positive": [DOCUMENTS[name] for name in relevant],
                "negative": [DOCUMENTS[name] for name in others],
            }
            file.write(json.dumps(row) + "\n")
    return path
