"""What the chat model cost, by purpose."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass
class Account:
    """One purpose. ``calls`` were answered by the server; ``cached`` came from disk and cost nothing.

    Tokens and ``seconds`` (on the wire, summed over calls that may have run side by side) are of ``calls``.
    """

    calls: int = 0
    cached: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass
class Ledger:
    """Accounts by purpose; may be shared by several clients of one run."""

    accounts: dict[str, Account] = field(default_factory=dict)

    def account(self, purpose: str) -> Account:
        """The account of a purpose, opened on first use."""
        return self.accounts.setdefault(purpose, Account())

    def paid(self, purpose: str, prompt_tokens: int, completion_tokens: int, seconds: float) -> None:
        """Book one answered call."""
        account = self.account(purpose)
        account.calls += 1
        account.prompt_tokens += prompt_tokens
        account.completion_tokens += completion_tokens
        account.seconds += seconds

    def total(self) -> Account:
        """The sum over purposes."""
        total = Account()
        for account in self.accounts.values():
            for name, value in asdict(account).items():
                setattr(total, name, getattr(total, name) + value)
        return total

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Plain numbers by purpose, with ``total``, for JSON."""
        rows = {purpose: asdict(self.accounts[purpose]) for purpose in sorted(self.accounts)}
        return {**rows, "total": asdict(self.total())}
