"""TruthExpert: an expert whose finding is the true label mask of a case, or a mistake made on purpose.

It has the card of the expert it stands for and goes through `run_expert` like any other, so what a model is told in
training has the form of what it will be told. Where the results of the real expert are at hand, use these instead:
pass an `ExpertCache` as `run`, and real experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attending.corpora.cases import Labelled
from attending.experts import ExpertCard, ExpertError, Finding, Record
from attending.experts.fit import digest, fit
from attending.imaging import Study, Volume

CLASSES = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema",
    "Enlarged Cardiomediastinum", "Fibrosis", "Fracture", "Hernia", "Infiltration", "Lung Lesion", "Lung Opacity",
    "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
"""TorchXRayVision's."""
MISTAKES = ("", "fails", "misses", "invents", "unsure")


class TruthExpert:
    """The expert.

    Args:
        card: Of the expert it stands for: VISTA3D, BRATS or CXR.
        case: What is true.
        seed: Of the simulated probabilities of a classifier.
        mistake: One of `MISTAKES`. `misses`: lesions are left out, or what is there gets a low probability; `invents`:
            what `about` names gets a high probability; `unsure`: its probability is between 0.45 and 0.55.
        about: The finding (a classifier's name) or lesion label that a mistake is about.
    """

    def __init__(self, card: ExpertCard, case: Labelled, seed: int = 0, mistake: str = "", about: str = "") -> None:
        self.card, self._case, self._seed, self._mistake, self._about = card, case, seed, mistake, about

    def available(self) -> str | None:
        """See `Expert`."""
        return None

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """See `Expert`."""
        if self._mistake == "fails":
            reasons = ("there is not enough memory for this study", "took longer than its 600 seconds", "it broke")
            raise ExpertError(reasons[self._seed % len(reasons)])
        used, _ = fit(self.card, study)
        record = Record("", "truth", inputs={series.id: digest(series) for series in used})
        if self.card.task == "classification":
            return Finding("done", "Simulated probabilities.", record, scores=self.scores())
        return self._mask(used[0].id, study, arguments, record)

    def _mask(self, series: str, study: Study, arguments: Mapping[str, str], record: Record) -> Finding:
        from attending.experts.brats import NAMES, tell_tumor
        from attending.experts.segment import tell
        from attending.experts.vista3d import group_ids, vista3d_labels

        labels = self._case.labels
        if labels is None:
            raise ExpertError("nothing is known of this study")
        names = {i: vista3d_labels()["names"][i] for i in group_ids(arguments["structures"])} if arguments else NAMES
        wanted = [label for label in names if not (self._mistake == "misses" and label in self._case.lesions)]
        array = np.where(np.isin(labels.array, wanted), labels.array, 0).astype(np.uint8)
        mask = Volume(array, labels.affine)
        if not arguments:
            return tell_tumor(mask, study.find(series), record, ())
        return tell(mask, names, study.find(series), record, (), self._case.lesions)

    def scores(self) -> dict[str, float]:
        """Simulated probabilities by class: on the right side of a half, unless there is a mistake."""
        rng = np.random.default_rng(self._seed)
        scores = {}
        for name in CLASSES:
            there = self._case.present.get(name, False)
            low, high = (0.6, 0.97) if there else (0.02, 0.4)
            if name == self._about:
                low, high = {"misses": (0.05, 0.35), "invents": (0.6, 0.9), "unsure": (0.45, 0.55)}.get(
                    self._mistake, (low, high)
                )
            scores[name] = round(float(rng.uniform(low, high)), 3)
        return scores
