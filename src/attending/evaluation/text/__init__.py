"""text: BLEU, ROUGE-L, METEOR and CIDEr on tokens that the caller chooses, and the tokenisers."""

from attending.evaluation.text.bleu import bleu_statistics, coco_bleu, sacre_bleu
from attending.evaluation.text.cider import cider
from attending.evaluation.text.meteor import meteor
from attending.evaluation.text.meteor_java import meteor_counts, meteor_score
from attending.evaluation.text.rouge import lcs_length, rouge_l
from attending.evaluation.text.stem import stem
from attending.evaluation.text.tokens import report_tokens, rouge_tokens

__all__ = [
    "bleu_statistics",
    "cider",
    "coco_bleu",
    "lcs_length",
    "meteor",
    "meteor_counts",
    "meteor_score",
    "report_tokens",
    "rouge_l",
    "rouge_tokens",
    "sacre_bleu",
    "stem",
]
