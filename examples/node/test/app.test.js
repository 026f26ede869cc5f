"use strict";
const request = require("supertest");
const { app } = require("../src/app");

test("a note that was posted is listed", async () => {
  await request(app).post("/notes").send({ text: "built without privilege" }).expect(201, { count: 1 });
  await request(app).get("/notes").expect(200, ["built without privilege"]);
});
