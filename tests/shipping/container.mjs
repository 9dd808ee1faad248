// Dockerfile and .dockerignore, as far as they can be judged without a container engine: a validator, and the properties that are
// promised. container-root.sh runs the binary inside the assembled root. Not covered: the build itself, in the images it starts from.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";

if (!process.env.NODE_TOOLS) throw new Error("NODE_TOOLS is not set: run this through scripts/test, which installs the validator");
const from = createRequire(`${process.env.NODE_TOOLS}/package.json`);
const { validate } = from("dockerfile-utils");
const { DockerfileParser } = from("dockerfile-ast");

const root = new URL("../../", import.meta.url);
const read = (path) => readFileSync(new URL(path, root), "utf8");
const dockerfile = read("Dockerfile");
const tracked = execFileSync("git", ["ls-files"], { cwd: root, encoding: "utf8" }).trim().split("\n");

/** The instructions of a Dockerfile, with the stage that each belongs to, counted from 0. */
function instructions(text) {
  let stage = -1;
  return DockerfileParser.parse(text).getInstructions().map((instruction) => {
    const keyword = instruction.getKeyword();
    if (keyword === "FROM") stage += 1;
    const flags = (instruction.getFlags?.() ?? []).map((flag) => `--${flag.getName()}=${flag.getValue()}`);
    const args = instruction.getArguments().map((argument) => argument.getValue());
    return { keyword, stage, flags, args, line: instruction.getRange().start.line + 1 };
  });
}

/** Everything that is wrong with a Dockerfile, as sentences. An empty list is what the real one has to give. */
function faults(text) {
  const found = validate(text).map((d) => `line ${d.range.start.line + 1}: ${d.message}`);
  const all = instructions(text);
  const last = all.filter((i) => i.stage === Math.max(...all.map((j) => j.stage)));
  const stages = all.filter((i) => i.keyword === "FROM").map((i) => i.args[2]).filter(Boolean);
  const say = (i, what) => found.push(`line ${i.line}: ${what}`);

  for (const i of all) {
    if (i.keyword === "FROM" && i.args[0] !== "scratch" && !/:\d+\.\d+\.\d+[\w.-]*$|@sha256:/.test(i.args[0])) say(i, "the image's version is not pinned");
    if (i.keyword === "ADD") say(i, "ADD fetches and unpacks: use COPY");
    if (i.keyword === "RUN" && /curl|wget|sudo|chmod 777/.test(i.args.join(" "))) say(i, "RUN fetches something or weakens a permission");
    if (["ENV", "ARG"].includes(i.keyword) && /token|secret|passw|key=/i.test(i.args.join(" "))) say(i, "a secret would end up in the image");
    const stageNamed = i.flags.find((flag) => flag.startsWith("--from="))?.slice("--from=".length);
    if (stageNamed && !stages.includes(stageNamed)) say(i, `copies from an unknown stage ${stageNamed}`);
    if (i.keyword === "COPY" && !stageNamed) {
      for (const source of i.args.slice(0, -1)) {
        if (source !== "." && !tracked.some((path) => path === source || path.startsWith(`${source}/`))) say(i, `${source} is not in git`);
      }
    }
  }
  const user = last.filter((i) => i.keyword === "USER").at(-1)?.args[0] ?? "root";
  if (!/^[1-9]\d*:[1-9]\d*$/.test(user)) found.push(`the last stage runs as ${user}, which is not a number other than 0`);
  for (const keyword of ["ENTRYPOINT", "CMD", "HEALTHCHECK"]) {
    const command = last.find((i) => i.keyword === keyword);
    if (!command) found.push(`no ${keyword}`);
    else if (!command.args.join(" ").includes("[")) found.push(`${keyword} needs a shell, and there is none`);
  }
  if (last[0].args[0] === "scratch" && last.some((i) => i.keyword === "RUN")) found.push("RUN in an image without a shell");
  return found;
}

test("the Dockerfile has no fault", () => assert.deepEqual(faults(dockerfile), []));

const spoiled = [
  ["an instruction that does not exist", "USER 65532:65532", "USERS 65532:65532", "Unknown instruction"],
  ["root", "USER 65532:65532", "USER root", "runs as root"],
  ["no user at all", "USER 65532:65532\n", "", "runs as root"],
  ["an image without a version", "rust:1.95.0-bookworm", "rust:latest", "not pinned"],
  ["something fetched from the network", "COPY . .", "ADD https://example.com/x.tar /src", "use COPY"],
  ["a source that is not in git", "COPY . .", "COPY secrets.txt .", "secrets.txt is not in git"],
  ["a stage that does not exist", "--from=build /image /\n", "--from=builder /image /\n", "unknown stage builder"],
  ["a secret as an argument", "ARG VERSION=unknown", "ARG MIRO_TOKEN", "a secret"],
  ["a command that needs a shell", 'CMD ["run"]', "CMD run", "CMD needs a shell"],
];
for (const [name, right, wrong, message] of spoiled) {
  test(`the check refuses ${name}`, () => {
    assert.ok(dockerfile.includes(right), `the Dockerfile no longer has ${right}`);
    const found = faults(dockerfile.replace(right, wrong));
    assert.ok(found.some((fault) => fault.includes(message)), `found only: ${found.join("; ")}`);
  });
}

test("the compiler is the one that Cargo.toml asks for", () => {
  const wanted = /^rust-version = "(\d+\.\d+)/m.exec(read("Cargo.toml"))[1];
  assert.match(dockerfile, new RegExp(`^FROM rust:${wanted.replace(".", "\\.")}\\.\\d+-`, "m"));
});

test("the build is locked, and only the final stage without the toolchain ships", () => {
  assert.match(dockerfile, /cargo build --release --locked --bin miro-siem/);
  assert.equal(instructions(dockerfile).filter((i) => i.keyword === "FROM").length, 2);
  assert.match(dockerfile, /^FROM scratch$/m);
});

test("state has a volume, the admin port is named, the user owns the state", () => {
  const last = instructions(dockerfile).filter((i) => i.stage === 1);
  assert.match(last.find((i) => i.keyword === "VOLUME").args.join(""), /\/var\/lib\/miro-siem/);
  assert.deepEqual(last.find((i) => i.keyword === "EXPOSE").args, ["9494"]);
  const owner = last.find((i) => i.keyword === "USER").args[0];
  const state = last.find((i) => i.keyword === "COPY" && i.args.at(-1) === "/var/lib/miro-siem");
  assert.ok(state.flags.includes(`--chown=${owner}`));
});

test(".dockerignore lets in what is named and nothing else", () => {
  const lines = read(".dockerignore").split("\n").filter((line) => line && !line.startsWith("#"));
  assert.equal(lines[0], "*");
  for (const line of lines.slice(1)) assert.match(line, /^!/);
  const admitted = lines.slice(1).map((line) => line.slice(1));
  const members = /^members = \[(.*)\]$/m.exec(read("Cargo.toml"))[1].match(/[\w-]+/g);
  for (const needed of ["Cargo.toml", "Cargo.lock", "src", "deploy/container", ...members]) {
    assert.ok(admitted.includes(needed), `${needed} does not reach the builder`);
  }
  for (const kept of [".git", "target"]) assert.ok(!admitted.includes(kept), `${kept} reaches the builder`);
});
