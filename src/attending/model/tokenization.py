"""VilaM3Tokenizer: SentencePiece as the published 3B and 13B checkpoints were trained with it.

Transformers 5 turns such a tokenizer into a Rust one, which splits a chunk that begins with a space differently.
Here SentencePiece itself is asked.
"""

from typing import Any

from transformers.tokenization_utils_sentencepiece import SPIECE_UNDERLINE, SentencePieceBackend


class VilaM3Tokenizer(SentencePieceBackend):
    """Llama's SentencePiece tokenizer with its non-legacy rules.

    The text gets one dummy space in front; special tokens are cut out first, and what follows one gets no dummy space.
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    padding_side = "right"

    def __init__(
        self,
        vocab_file: str,
        unk_token: str = "<unk>",
        bos_token: str = "<s>",
        eos_token: str = "</s>",
        add_bos_token: bool = True,
        **kwargs: Any,
    ) -> None:
        self.add_bos_token = add_bos_token
        kwargs.pop("legacy", None)
        kwargs["special_tokens_pattern"] = "bos" if add_bos_token else "none"
        super().__init__(
            vocab_file=vocab_file,
            unk_token=unk_token,
            bos_token=bos_token,
            eos_token=eos_token,
            add_bos_token=add_bos_token,
            legacy=False,
            **kwargs,
        )

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """Split text into pieces."""
        return [piece for piece, _, _ in self.pieces(text, bool(kwargs.get("split_special_tokens")))]

    def pieces(self, text: str, split_special_tokens: bool = False) -> list[tuple[str, int, int]]:
        """Split text into (piece, first character, last character + 1), in characters of `text`.

        The characters are right for tokenizers that do not rewrite text first, as Llama's do not.
        """
        if not text:
            return []
        prefixed = " " + text.replace(SPIECE_UNDERLINE, " ")
        special = {} if split_special_tokens else self._added_tokens_encoder
        parts = [prefixed] if split_special_tokens else self.tokens_trie.split(prefixed)
        pieces = [piece for part in parts for piece in ([part] if part in special else self._split(part))]
        start = -1  # in bytes of `text`, whose first is 0: the dummy space is not in it
        if len(pieces) > 1 and pieces[0] == SPIECE_UNDERLINE and pieces[1] in special:
            pieces, start = pieces[1:], 0  # a dummy space with nothing behind it but a special token is none
        character = [index for index, one in enumerate(prefixed[1:]) for _ in one.encode()]
        found = []
        for piece in pieces:
            end = start + self._bytes(piece)
            first, last = max(start, 0), max(end, 0)
            found.append((piece, character[first] if first < last else 0, character[last - 1] + 1 if last else 0))
            start = end
        return found

    def _split(self, text: str) -> list[str]:
        """Ask SentencePiece, without its dummy prefix; it would drop a leading space, so `<unk>` stands before it."""
        guard = str(self.unk_token) if text.startswith(" ") else ""
        pieces: list[str] = self.sp_model.encode(guard + text, out_type=str)
        return pieces[len(self.sp_model.encode(guard)) :] if guard else pieces

    def _bytes(self, piece: str) -> int:
        """How many bytes of text a piece stands for; a byte piece such as `<0x0A>` is one."""
        if self.sp_model.is_byte(self.sp_model.piece_to_id(piece)):
            return 1
        return len(piece.replace(SPIECE_UNDERLINE, " ").encode())

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join pieces into text, without the dummy space of the first."""
        if not tokens:
            return ""
        tokens = [tokens[0].removeprefix(SPIECE_UNDERLINE), *tokens[1:]]
        text = ""
        plain: list[str] = []
        for token in tokens:
            if token in self._added_tokens_encoder:
                text += self.sp_model.decode(plain) + token
                plain = []
            else:
                plain.append(token)
        return text + str(self.sp_model.decode(plain))
