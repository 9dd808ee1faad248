// A type checker for KQL, on Microsoft's own language service. It knows the built-in functions and the columns it is given, nothing
// of what Azure allows at run time: the functions that a transform may use are listed in sentinel.mjs.

import { createRequire } from "node:module";

const PACKAGE = "@kusto/language-service-next";

/** Loads the language service from a folder that npm installed it into. The package defines globals, it exports nothing. */
function load(modules) {
  const from = createRequire(`${modules}/package.json`);
  from(`${PACKAGE}/bridge.min.js`);
  from(`${PACKAGE}/Kusto.Language.Bridge.min.js`);
  return globalThis.Kusto.Language;
}

const modules = process.env.NODE_TOOLS;
if (!modules) {
  throw new Error("NODE_TOOLS is not set: run this through scripts/test, which installs the language service");
}
const kusto = load(modules);

function list(items) {
  const found = [];
  for (let i = 0; i < items.Count; i += 1) found.push(items.getItem(i));
  return found;
}

function walk(node, visit) {
  if (!node) return;
  visit(node, node.constructor.$$name.split(".").pop());
  for (let i = 0; i < node.ChildCount; i += 1) walk(node.GetChild(i), visit);
}

function globalsWith(tables) {
  const { TableSymbol, DatabaseSymbol } = kusto.Symbols;
  const symbols = Object.entries(tables).map(([name, columns]) => {
    const schema = Object.entries(columns).map(([column, type]) => `['${column}']: ${type}`);
    return TableSymbol.From(`(${schema.join(", ")})`).WithName(name);
  });
  const database = new DatabaseSymbol.ctor("workspace", symbols);
  return kusto.GlobalState.Default.WithDatabase(database);
}

/**
 * Parses and type-checks one query against tables: { name: { column: type } }.
 * Returns every diagnostic as text, the columns of the result in order, and the functions and operators that are used.
 */
export function check(query, tables) {
  const code = kusto.KustoCode.ParseAndAnalyze(query, globalsWith(tables));
  const diagnostics = list(code.GetDiagnostics()).map((d) => `${d.Severity} ${d.Code} at ${d.Start}: ${d.Message}`);
  const columns = {};
  const result = code.ResultType;
  if (result && result.Columns) {
    for (const column of list(result.Columns)) columns[column.Name] = column.Type.Name;
  }
  const used = { functions: new Set(), operators: new Set() };
  walk(code.Syntax, (node, kind) => {
    if (kind === "FunctionCallExpression") used.functions.add(node.Name.SimpleName);
    if (kind.endsWith("Operator")) used.operators.add(kind);
  });
  return { diagnostics, columns, ...used };
}
