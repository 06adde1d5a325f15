"""What ccxt's credentials are called in the environment, behind a prefix of the user's own."""

from typing import Final

CREDENTIALS: Final = {
    "API_KEY": "apiKey",
    "SECRET": "secret",
    "PASSWORD": "password",
    "UID": "uid",
    "LOGIN": "login",
    "TWOFA": "twofa",
    "PRIVATE_KEY": "privateKey",
    "WALLET_ADDRESS": "walletAddress",
    "TOKEN": "token",
    "ACCOUNT_ID": "accountId",
}
"""How a variable's name ends, and what ccxt calls what it holds."""
