"""A record of each token handed out. The token itself is shown once and stored nowhere."""

import uuid
from datetime import timedelta

import jwt
from accounts.models import User
from config.fields import Line
from django.conf import settings
from django.db import models
from django.utils import timezone

from .settings import TOKEN_KEYS

LIFETIME = timedelta(hours=1)
# How long a record outlives its token: the api accepts tokens for 5 s more.
KEEP = timedelta(minutes=1)


class TokenQuerySet(models.QuerySet["Token"]):
    def active(self) -> "TokenQuerySet":
        return self.filter(expires_at__gt=timezone.now())

    def issue(self, user: User, name: str) -> str:
        """Record a new token for the api, delete old records, and return the token, a JWT."""
        now = timezone.now().replace(microsecond=0)  # a JWT counts in seconds
        self.filter(expires_at__lte=now - KEEP).delete()
        token = self.create(user=user, name=name, jti=uuid.uuid4().hex, created_at=now, expires_at=now + LIFETIME)
        key_id, secret = next(iter(TOKEN_KEYS.items()))
        claims = {
            "iss": "site",
            "aud": "api",
            "sub": str(user.pk),
            "iat": token.created_at,
            "exp": token.expires_at,
            "jti": token.jti,
        }
        return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id})

    def revoke(self) -> None:
        """The api rejects these tokens: at once when they write, and within a minute when they read."""
        self.update(user=None)


class Token(models.Model):
    # None: the token was revoked, or its user was deleted.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="tokens")
    name = Line(max_length=50)
    jti = models.CharField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return str(self.name)
