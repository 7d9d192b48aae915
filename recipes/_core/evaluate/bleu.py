"""BLEU of translations and captions, by sacreBLEU (Post 2018)."""

from sacrebleu.metrics import BLEU


def bleu(answers, references, order=4):
    """The BLEU of a whole corpus, from 0 to 100, on words and punctuation marks in lower case.

    Args:
        answers: str array (examples,), as a person writes them.
        references: str array (examples, references), empty past the last.
        order: of the longest n-grams that are counted.
    """
    if len(answers) != len(references):
        raise ValueError(f"Expected references of {len(answers)} answers, received {len(references)}.")
    columns = [[text or None for text in map(str, column)] for column in references.T]
    return float(
        BLEU(lowercase=True, max_ngram_order=order).corpus_score([str(answer) for answer in answers], columns).score
    )
