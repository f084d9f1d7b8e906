from django.urls import path

from . import views

app_name = "polls"
urlpatterns = [
    path("", views.question_list, name="list"),
    path("questions/new/", views.ask, name="ask"),
    path("questions/<int:question_id>/", views.question, name="question"),
    path("questions/<int:question_id>/vote/", views.vote, name="vote"),
]
