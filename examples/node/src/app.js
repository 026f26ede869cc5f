"use strict";
const express = require("express");

const app = express();
const notes = [];

app.use(express.json());
app.get("/notes", (request, response) => response.json(notes));
app.post("/notes", (request, response) => {
  notes.push(String(request.body.text));
  response.status(201).json({ count: notes.length });
});

module.exports = { app };
