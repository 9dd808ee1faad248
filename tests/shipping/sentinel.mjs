// deploy/sentinel: the template's structure, the KQL of its transforms, and every query of its README.
// Not covered, because it needs Azure: that the resource providers accept the template, and what the transforms do to a row.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { check } from "./kql.mjs";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const template = JSON.parse(read("../../deploy/sentinel/azuredeploy.json"));
const example = JSON.parse(read("../../deploy/sentinel/azuredeploy.parameters.example.json"));
const readme = read("../../deploy/sentinel/README.md");
const expected = JSON.parse(read("sentinel-tables.json"));
const transformFiles = { MiroAuditLogs_CL: "audit.kql", MiroContentLogs_CL: "content.kql", MiroAiLogs_CL: "ai.kql" };

// From the list of KQL that Azure Monitor runs in a transform ("Supported KQL features in Azure Monitor transformations"): the part that
// these transforms have a use for. The language service knows far more than a rule may contain.
const TRANSFORM_OPERATORS = ["ProjectOperator", "ExtendOperator", "FilterOperator"];
const TRANSFORM_FUNCTIONS = ["todatetime", "tostring", "iif", "isnull", "isnotnull", "isempty", "isnotempty", "now", "parse_json"];
// Limits of a custom table: names of at most 45 characters that start with a letter (Azure Monitor, "Create a custom table").
const COLUMN_NAME = /^[A-Za-z][A-Za-z0-9_]{0,44}$/;
// A transform may have at most 15 360 characters (Azure Monitor service limits, data collection rules).
const TRANSFORM_CHARS_MAX = 15_360;

const ofType = (type) => template.resources.filter((r) => r.type === type);
const rule = ofType("Microsoft.Insights/dataCollectionRules")[0];
const tables = Object.fromEntries(
  ofType("Microsoft.OperationalInsights/workspaces/tables").map((t) => [t.properties.schema.name, t]),
);
const typed = (columns) => Object.fromEntries(columns.map((c) => [c.name, c.type.toLowerCase()]));
const flowInto = (table) => rule.properties.dataFlows.find((flow) => flow.outputStream === `Custom-${table}`);
const sourceOf = (table) => ({ source: typed(rule.properties.streamDeclarations[expected[table].stream].columns) });
const everyTable = Object.fromEntries(Object.entries(tables).map(([name, t]) => [name, typed(t.properties.schema.columns)]));

/** Every ARM expression of the template, with the path to it. */
function expressions(value, path = "") {
  if (typeof value === "string") return value.startsWith("[") && value.endsWith("]") ? [[path, value.slice(1, -1)]] : [];
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, inner]) => expressions(inner, `${path}/${key}`));
}

/** Replaces variables by their expressions, so that two ways to write one resource id compare equal. */
function expand(expression) {
  const next = expression.replace(/variables\('(\w+)'\)/g, (_, name) => {
    assert.ok(name in template.variables, `variable ${name} is not declared`);
    const value = template.variables[name];
    return value.startsWith("[") ? value.slice(1, -1) : `'${value}'`;
  });
  return next === expression ? next : expand(next);
}

function balanced(expression) {
  let depth = 0;
  for (const c of expression.replace(/'(?:[^']|'')*'/g, "")) {
    if (c === "(") depth += 1;
    if (c === ")") depth -= 1;
    if (depth < 0) return false;
  }
  return depth === 0;
}

/** The resource id that a resource of this template gets, written as an ARM expression. */
function idOf(resource) {
  const tableName = /^\[concat\((parameters\('\w+'\)), '\/(\w+)'\)\]$/.exec(resource.name);
  if (tableName) return `resourceId('${resource.type}', ${tableName[1]}, '${tableName[2]}')`;
  return `resourceId('${resource.type}', ${expand(resource.name.slice(1, -1))})`;
}

for (const [table, facts] of Object.entries(expected)) {
  // Audit and content have those of the Miro solution in the content hub, which knows no AI logs.
  test(`${table} has exactly the columns that are meant, in their order`, () => {
    const columns = tables[table].properties.schema.columns;
    assert.deepEqual(Object.entries(typed(columns)), Object.entries(facts.table_columns));
    for (const { name } of columns) assert.match(name, COLUMN_NAME);
  });

  test(`the stream into ${table} declares exactly the members of Miro's record`, () => {
    assert.deepEqual(sourceOf(table).source, facts.stream_columns);
    assert.deepEqual(flowInto(table).streams, [facts.stream]);
  });

  test(`the transform into ${table} type-checks, and yields exactly the table's columns and types`, () => {
    const result = check(flowInto(table).transformKql, sourceOf(table));
    assert.deepEqual(result.diagnostics, []);
    assert.deepEqual(result.columns, facts.table_columns);
  });

  test(`the transform into ${table} uses only what Azure Monitor runs in a transform`, () => {
    const { transformKql } = flowInto(table);
    const used = check(transformKql, sourceOf(table));
    assert.ok(used.functions.has("todatetime") && used.operators.has("ProjectOperator"), "the checker saw no call at all");
    assert.deepEqual([...used.functions].filter((name) => !TRANSFORM_FUNCTIONS.includes(name)), []);
    assert.deepEqual([...used.operators].filter((name) => !TRANSFORM_OPERATORS.includes(name)), []);
    assert.ok(transformKql.length <= TRANSFORM_CHARS_MAX);
  });

  test(`the transform into ${table} is the one in ${transformFiles[table]}`, () => {
    const readable = read(`../../deploy/sentinel/${transformFiles[table]}`).trim().split(/\s+/).join(" ");
    assert.equal(flowInto(table).transformKql, readable);
  });

  test(`the time of a row in ${table} is the time of the event`, () => {
    const time = table === "MiroContentLogs_CL" ? "actionTime" : "createdAt";
    assert.match(flowInto(table).transformKql, new RegExp(`TimeGenerated = todatetime\\(${time}\\)`));
  });
}

const broken = [
  ["a member that the stream does not declare", "source | project TimeGenerated = todatetime(createdOn)"],
  ["a function that does not exist", "source | project TimeGenerated = to_date_time(createdAt)"],
  ["a comparison of a text with a time", "source | where createdAt > now()"],
  ["an operator with its right side missing", "source | where event =="],
  ["a table that does not exist", "sauce | project id"],
];
for (const [name, query] of broken) {
  test(`the checker refuses ${name}`, () => {
    assert.notDeepEqual(check(query, sourceOf("MiroAuditLogs_CL")).diagnostics, []);
  });
}

test("the checker tells a wrong column type from a right one", () => {
  const { columns } = check("source | project createdBy_id = createdBy.id, id", sourceOf("MiroAuditLogs_CL"));
  assert.deepEqual(columns, { createdBy_id: "dynamic", id: "string" });
});

const sections = [...readme.matchAll(/([^\n]+):\n\n```kql\n([\s\S]*?)```/g)].map(([, title, query]) => [title, query]);
test("every query block of the README has a title, so that none goes unchecked", () => {
  assert.equal(sections.length, readme.split("```kql").length - 1);
  const ofSolution = ["Recent audit events", "Activity by user and event type", "Content changes by user", "Event trends", "Most active users"];
  const kinds = [...ofSolution, "AI features by user"];
  for (const kind of kinds) {
    assert.ok(sections.some(([title]) => title.startsWith(kind)), `no query for: ${kind}`);
  }
});
for (const [title, query] of sections) {
  test(`README query type-checks: ${title}`, () => {
    assert.deepEqual(check(query, everyTable).diagnostics, []);
  });
}

test("resources have unique ids and dated API versions", () => {
  const ids = template.resources.map((r) => `${r.type} ${r.name} ${r.scope ?? ""}`);
  assert.equal(new Set(ids).size, ids.length);
  for (const resource of template.resources) assert.match(resource.apiVersion, /^20\d\d-\d\d-\d\d$/);
});

test("every dependsOn names a resource of this template, and the rule waits for every table", () => {
  const ids = new Set(template.resources.map(idOf));
  for (const resource of template.resources) {
    for (const dependency of resource.dependsOn ?? []) {
      assert.ok(ids.has(expand(dependency.slice(1, -1))), `${resource.type} depends on an unknown ${dependency}`);
    }
  }
  assert.equal(rule.dependsOn.length, Object.keys(expected).length);
});

test("every parameter and variable is described, declared and used", () => {
  const text = expressions(template).map(([, expression]) => expression).join("\n");
  for (const kind of ["parameters", "variables"]) {
    const named = new Set([...text.matchAll(new RegExp(`${kind}\\('(\\w+)'\\)`, "g"))].map((m) => m[1]));
    assert.deepEqual([...named].sort(), Object.keys(template[kind]).sort());
  }
  for (const [name, parameter] of Object.entries(template.parameters)) {
    assert.ok(parameter.metadata.description, `parameter ${name} has no description`);
  }
});

test("every expression of the template has its brackets closed", () => {
  const all = expressions(template);
  assert.ok(all.length > 10);
  for (const [path, expression] of all) assert.ok(balanced(expression), `${path}: ${expression}`);
  assert.equal(balanced("resourceId('a', parameters('b')"), false);
});

test("the example parameters are parameters of the template, and all that have no default", () => {
  const required = Object.entries(template.parameters).filter(([, p]) => !("defaultValue" in p)).map(([name]) => name);
  assert.deepEqual(Object.keys(example.parameters).sort(), required.sort());
});

test("data flows go from declared streams to declared destinations and tables", () => {
  const destinations = rule.properties.destinations.logAnalytics.map((d) => d.name);
  for (const flow of rule.properties.dataFlows) {
    for (const stream of flow.streams) assert.ok(stream in rule.properties.streamDeclarations);
    for (const destination of flow.destinations) assert.ok(destinations.includes(destination));
    assert.ok(flow.outputStream.replace("Custom-", "") in tables);
  }
});

test("the rule brings its own endpoint: it is of kind Direct, in an API version that has it", () => {
  assert.equal(rule.kind, "Direct");
  assert.ok(rule.apiVersion >= "2023-03-11");
  assert.match(template.outputs.endpoint.value, /endpoints\.logsIngestion\]$/);
  assert.match(template.outputs.dcrId.value, /immutableId\]$/);
});

test("the principal gets Monitoring Metrics Publisher, on the rule and nothing wider", () => {
  const [assignment, ...others] = ofType("Microsoft.Authorization/roleAssignments");
  assert.deepEqual(others, []);
  assert.equal(expand(assignment.scope.slice(1, -1)), idOf(rule));
  assert.match(expand(assignment.properties.roleDefinitionId), /'3913510d-42f4-4e42-8a64-420c390055eb'/);
  assert.match(assignment.name, /^\[guid\(.*parameters\('principalId'\)/);
});

test("every output is in the README's table beside its key, and the stream names are real", () => {
  for (const [name, output] of Object.entries(template.outputs)) {
    const key = output.metadata.description.replace("sinks.sentinel.", "");
    assert.match(readme, new RegExp(`\\| \`${name}\` \\| \`${key}\``));
  }
  const named = [template.outputs.auditStream.value, template.outputs.contentStream.value, template.outputs.aiStream.value];
  assert.deepEqual(named, Object.keys(rule.properties.streamDeclarations));
});
