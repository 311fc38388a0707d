// Azurite 3.37 finds the table of an operation inside a batch as the second
// segment of its path (/<account>/<table>), also when the account is in the host
// name (https://<account>.table.core.windows.net/<table>), and so answers every
// batch to a production-style address with an error. For host names, this takes
// the first segment; addresses by IP keep Azurite's own rule.
"use strict";

const { BatchSerialization } = require("azurite/dist/src/table/batch/BatchSerialization");

const original = BatchSerialization.prototype.extractPath;
BatchSerialization.prototype.extractPath = function (uri) {
  const byName = /^https?:\/\/(?!\d+\.\d+\.\d+\.\d+[:/])[^/]+\/(\w+)/.exec(uri);
  return byName ?? original.call(this, uri);
};
