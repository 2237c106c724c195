"""Chat: messages in, the messages with the assistant's reply after them out.

transformers v4 had an object for this, Conversation, and later left it out; messages here are plain dicts.
"""

from lmlab.data.chat import encode_chat
from lmlab.decoding.text import generate
from lmlab.utils.errors import UserError


def make(lm):
    """The call: for a chat, a list of {"role", "content"}, that list with {"role": "assistant", "content": the reply}
    after it; for a list of chats a list of such lists. Keyword arguments are those of `lmlab.generate`."""
    def call(conversations, **settings):
        one = bool(conversations) and isinstance(conversations[0], dict)
        chats = [conversations] if one else list(conversations)
        for messages in chats:
            if not isinstance(messages, (list, tuple)) or not messages:
                raise UserError(f'{str(messages)[:80]!r} is no chat; give [{{"role": "user", "content": "..."}}, ...], '
                                "or a list of such lists")
        replies = generate(lm, [encode_chat(lm.tokenizer, messages) for messages in chats], **settings)
        out = [[*messages, {"role": "assistant", "content": reply.strip()}]
               for messages, reply in zip(chats, replies, strict=True)]
        return out[0] if one else out
    return call
