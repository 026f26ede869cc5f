"use strict";
const path = require("path");

module.exports = {
  entry: "./src/page.js",
  output: { path: path.resolve(__dirname, "dist"), filename: "page.js" },
};
