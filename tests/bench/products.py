"""What a user would pick instead, on the quickstart's pairs, base model and test split, and with this machine alone.

    make bench-products ARGS="--seeds 0 1 --products sweep plain"

``sweep``: the quickstart. ``search``: the library's own search with Optuna's TPE, 12 trials over the quickstart's space
that run to their end, and as the best model is lost there, its configuration is trained again. ``median``: the same,
evaluated on the quickstart's grid, with Optuna's MedianPruner in a callback. ``short`` and ``plain``: one training at
the library's documented advice (2e-5, warm-up 0.1, batch 64), over the pairs of one trial and over those of all.

Peers train on query-document pairs alone, as their user would. Each run is a process of its own; its model is
evaluated on the test split afterwards, once, by pytrec_eval. What was measured is kept, a line each, so that another
call goes on with what is missing; the table at the end is of all that is there.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.plan import StudyPlan, plan_study
from sweep.storage.location import locate_study

if TYPE_CHECKING:
    import optuna
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "studies" / "quickstart.toml"
KEEP = ROOT / "tests" / "bench" / "results" / "products.jsonl"

TRIALS, PAIRS = 12, 1920
ADVICE = {"learning_rate": 2e-5, "warmup": 0.1, "batch_size": 64}
GRID = (0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0)


def run_sweep(folder: Path, seed: int) -> Path:
    """The quickstart with another seed of the study; the folder of the model that it says to use."""
    file = folder / "quickstart.toml"
    text = re.sub(r"^name = .*$", rf"\g<0>\nseed = {seed}", QUICKSTART.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "sweep"]
    subprocess.run([*command, "run", str(file), "--plain"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    said = subprocess.run([*command, "status", str(file), "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    status = json.loads(said.stdout)
    return Path(status["recommendation"]["checkpoint"] or status["best"]["checkpoint"])


def train_once(folder: Path, seed: int, *, pairs: int) -> Path:
    """One training at the library's documented advice."""
    return Peer(folder, seed).train(ADVICE, pairs=pairs)


def search(folder: Path, seed: int, *, prunes: bool) -> Path:
    """The library's search, and its best configuration trained again."""
    peer = Peer(folder, seed)
    return peer.train(peer.search(prunes=prunes), pairs=PAIRS)


PRODUCTS: dict[str, Callable[[Path, int], Path]] = {
    "sweep": run_sweep,
    "search": lambda folder, seed: search(folder, seed, prunes=False),
    "median": lambda folder, seed: search(folder, seed, prunes=True),
    "short": lambda folder, seed: train_once(folder, seed, pairs=PAIRS),
    "plain": lambda folder, seed: train_once(folder, seed, pairs=TRIALS * PAIRS),
}


class Peer:
    """The library by itself: its trainer, its loss, its evaluator, on the quickstart's data.

    Args:
        folder: Folder of whatever it writes.
        seed: Seed of its trainings and of its search.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        from datasets import Dataset

        from sweep.training.models import prepare_base_model

        self._plan = plan_study(locate_study(QUICKSTART))
        self._folder, self._seed = folder, seed
        self._base = folder / "base"
        prepare_base_model(self._plan.spec.model, QUICKSTART.parent, into=self._base)
        self._pairs = Dataset.from_dict(dict(self._plan.columns["query-document"]))

    def train(self, settings: Mapping[str, Any], *, pairs: int) -> Path:
        """Trains once; the folder of the model."""
        model = self._load()
        self._make_trainer(model, settings, pairs=pairs).train()
        model.save_pretrained(str(self._folder / "model"))
        return self._folder / "model"

    def _load(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(self._base), device="cpu")

    def _make_trainer(
        self, model: SentenceTransformer, settings: Mapping[str, Any], *, pairs: int
    ) -> SentenceTransformerTrainer:
        from sentence_transformers import SentenceTransformerTrainer
        from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.training_args import BatchSamplers

        arguments = Arguments(
            output_dir=str(self._folder / "trainer"),
            max_steps=max(1, round(pairs / settings["batch_size"])),
            per_device_train_batch_size=settings["batch_size"],
            learning_rate=settings["learning_rate"],
            warmup_steps=float(settings["warmup"]),
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=self._seed,
        )
        loss = MultipleNegativesRankingLoss(model)
        return SentenceTransformerTrainer(model=model, args=arguments, train_dataset=self._pairs, loss=loss)

    def search(self, *, prunes: bool) -> dict[str, Any]:
        """The best settings of a search with Optuna, by NDCG@10 on dev at the end of each trial."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.MedianPruner() if prunes else optuna.pruners.NopPruner()
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=self._seed), pruner=pruner
        )
        study.optimize(lambda trial: self._try(trial, prunes=prunes), n_trials=TRIALS)
        return dict(study.best_params)

    def _try(self, trial: optuna.Trial, *, prunes: bool) -> float:
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 5e-6, 6e-4, log=True),
            "warmup": trial.suggest_float("warmup", 0.0, 0.3),
            "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        }
        model = self._load()
        trainer = self._make_trainer(model, settings, pairs=PAIRS)
        if prunes:
            trainer.add_callback(self._make_callback(trial, model, steps=trainer.args.max_steps))
        trainer.train()
        return self._evaluate(model)

    def _make_callback(self, trial: optuna.Trial, model: SentenceTransformer, *, steps: int) -> Any:
        """A callback that evaluates on the quickstart's grid, reports, and ends a trial that the pruner stops."""
        import optuna
        from transformers import TrainerCallback

        due, evaluate = {max(1, round(share * steps)) for share in GRID[:-1]}, self._evaluate

        class Prune(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
                if state.global_step in due:
                    trial.report(evaluate(model), round(1000 * state.global_step / steps))
                    if trial.should_prune():
                        raise optuna.TrialPruned

        return Prune()

    def _evaluate(self, model: SentenceTransformer) -> float:
        """NDCG@10 on dev, by the library's evaluator."""
        from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

        queries, documents, relevant = read_split(self._plan, "dev")
        evaluator = InformationRetrievalEvaluator(dict[str, Any](queries), dict[str, Any](documents), relevant)
        scores = evaluator(model)
        (key,) = [key for key in scores if key.endswith("cosine_ndcg@10")]
        return float(scores[key])


def read_split(plan: StudyPlan, split: Any) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    """Queries and documents by their ids, and the relevant documents of each query."""
    chosen, collection = plan.evaluation_set(split), plan.collection
    documents = {name: collection.documents[name].text for name in chosen.document_ids}
    queries = {name: collection.queries[name] for name in chosen.query_ids}
    relevant = {query: {name for name, grade in chosen.qrels[query].items() if grade > 0} for query in chosen.query_ids}
    return queries, documents, relevant


def judge(model: Path) -> float:
    """NDCG@10 of a saved model on the test split, ranked by the library and evaluated by pytrec_eval."""
    import pytrec_eval
    from sentence_transformers import SentenceTransformer

    plan = plan_study(locate_study(QUICKSTART))
    queries, documents, relevant = read_split(plan, "test")
    encoder = SentenceTransformer(str(model), device="cpu")
    ours = encoder.encode_query(list(queries.values()), show_progress_bar=False)
    theirs = encoder.encode_document(list(documents.values()), show_progress_bar=False)
    scores = np.asarray(encoder.similarity(ours, theirs))
    run = {
        query: dict(zip(documents, map(float, row), strict=True)) for query, row in zip(queries, scores, strict=True)
    }
    qrels = {query: dict.fromkeys(names, 1) for query, names in relevant.items()}
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    return float(np.mean([each["ndcg_cut_10"] for each in found.values()]))


def measure(product: str, seed: int) -> dict[str, Any]:
    """One run of a product: its seconds, and its model on the test split."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        began = time.monotonic()
        command = [sys.executable, __file__, "--run", product, "--seeds", str(seed), "--folder", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.monotonic() - began
        shutil.rmtree(folder / "trainer", ignore_errors=True)
        test = judge(Path((folder / "chosen").read_text(encoding="utf-8")))
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return {"product": product, "seed": seed, "seconds": round(seconds, 1), "test": round(test, 5), "date": date}


def read_lines(keep: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in keep.read_text().splitlines()] if keep.exists() else []


def describe(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of the products: means over seeds, and how far ours is ahead at the same seeds, with the interval."""
    yield "| product | seeds | seconds | test NDCG@10 | sweep is ahead by |"
    yield "| --- | --- | --- | --- | --- |"
    ours = {one["seed"]: one["test"] for one in found if one["product"] == "sweep"}
    for product in PRODUCTS:
        own = {one["seed"]: one for one in found if one["product"] == product}
        if not own:
            continue
        tests = np.array([one["test"] for one in own.values()])
        seconds = np.mean([one["seconds"] for one in own.values()])
        ahead = np.array([ours[seed] - one["test"] for seed, one in own.items() if seed in ours])
        gap = "-"
        if product != "sweep" and len(ahead) > 1:
            from scipy.stats import t

            half = float(t.ppf(0.975, len(ahead) - 1)) * float(ahead.std(ddof=1)) / math.sqrt(len(ahead))
            gap = f"{ahead.mean():+.4f} ± {half:.4f}"
        yield f"| {product} | {', '.join(map(str, sorted(own)))} | {seconds:.0f} | {tests.mean():.4f} | {gap} |"


def main() -> None:
    """Measures what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", nargs="+", choices=PRODUCTS, default=list(PRODUCTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", type=Path, default=KEEP, help="file of what was measured")
    parser.add_argument("--run", choices=PRODUCTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        model = PRODUCTS[options.run](options.folder, options.seeds[0])
        (options.folder / "chosen").write_text(str(model.resolve()), encoding="utf-8")
        return
    known = {(one["product"], one["seed"]) for one in read_lines(options.keep)}
    for seed in options.seeds:
        for product in options.products:
            if (product, seed) not in known:
                found = measure(product, seed)
                with options.keep.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(found) + "\n")
    print(*describe(read_lines(options.keep)), sep="\n")


if __name__ == "__main__":
    main()
