// Read a traceback (Python's, or Node's) into its error and its frames.

export interface Frame { where: string; line: string; code: string; foreign: boolean }
export interface Traceback { type: string; error: string[]; frames: Frame[]; rest: string[] }

const PYTHON = /^\s*File "(.+)", line (\d+)(?:, in (.+))?$/;
const NODE = /^\s+at (?:(.+) \()?(.+?):(\d+)(?::\d+)?\)?$/;
const FOREIGN = /site-packages|dist-packages|node_modules|^node:|[\\/]lib[\\/]python\d|[\\/]toril[\\/]_|<frozen/;
const CHAINED = /^(?:Traceback \(most recent call last\)|During handling of|The above exception)/;

/** Return the end of a path, which tells files apart well enough. */
export const short = (path: string): string => path.split(/[\\/]/).slice(-3).join("/");

function python(lines: string[]): Traceback {
  const frames: Frame[] = [];
  let error: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]!;
    const found = PYTHON.exec(line);
    if (found) {
      const next = lines[at + 1] ?? "";
      const code = /^\s{4,}\S/.test(next) && !PYTHON.test(next) ? next.trim() : "";
      if (code) at += 1;
      frames.push({ where: `${short(found[1]!)}:${found[2]}${found[3] ? ` in ${found[3]}` : ""}`, line: found[2]!, code, foreign: FOREIGN.test(found[1]!) });
      error = [];
    } else if (!CHAINED.test(line) && !/^\s*[\^~]+\s*$/.test(line) && (line || error.length)) {
      error.push(line);
    }
  }
  return named(error, frames);
}

function named(error: string[], frames: Frame[]): Traceback {
  while (error.length && !error.at(-1)!.trim()) error.pop();
  const [, type = "", rest = ""] = /^([\w.$]+)((?::|$)[\s\S]*)/.exec(error[0] ?? "") ?? [];
  if (!type) return { type: "", error, frames, rest: [] };
  return { type: type.split(".").at(-1)!, error: [rest, ...error.slice(1)], frames, rest: [] };
}

export function frames(text: string): Traceback {
  const lines = text.trimEnd().split("\n");
  if (lines.some((line) => PYTHON.test(line))) return python(lines);
  const found: Frame[] = [];
  const error: string[] = [];
  for (const line of lines) {
    const node = NODE.exec(line);
    if (node) found.push({ where: `${short(node[2]!)}:${node[3]}${node[1] ? ` in ${node[1]}` : ""}`, line: node[3]!, code: "", foreign: FOREIGN.test(node[2]!) });
    else error.push(line);
  }
  return named(error, found);
}
