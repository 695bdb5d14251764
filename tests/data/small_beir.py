"""A collection of four documents and queries in the BEIR format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

CORPUS = [
    {"_id": "d1", "title": "Tea", "text": "Green tea is steeped below boiling."},
    {"_id": "d2", "title": "", "text": "Bread rises with yeast."},
    {"_id": "d3", "title": "Rice", "text": "Rinse rice before it is cooked."},
    {"_id": "d4", "text": "Salt draws water out of vegetables."},
]
QUERIES = [
    {"_id": "q1", "text": "how hot for green tea"},
    {"_id": "q2", "text": "what makes bread rise"},
    {"_id": "q3", "text": "wash rice"},
    {"_id": "q4", "text": "why salt aubergines"},
]
JUDGED = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq3\td3\t1\nq4\td4\t1\n"


def lines(records: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)
