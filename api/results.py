"""Placeholder: this resource has no routes yet."""

from fastapi import APIRouter

router = APIRouter()
