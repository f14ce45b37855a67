import { looksSecret } from "./secret-names.ts";

/** A package that a command fetches and runs, as in `npx -y @scope/server@1.2.3 --flag`. */
export interface PackageReference {
  registry: "npm" | "PyPI";
  name: string;
  /** As written after the name; null where nothing is. */
  version: string | null;
  /** Whether the same bytes come tomorrow: an exact version. */
  pinned: boolean;
  /** Where in `args` it is. */
  argIndex: number;
}

interface Runner {
  registry: PackageReference["registry"];
  /** Arguments before the package, as in `uv tool run`. */
  prefix: string[];
  /** Options that name the package. */
  packageOptions: string[];
  /** Options that take a value which is not the package. */
  valueOptions: string[];
}

const npm = {
  registry: "npm",
  packageOptions: ["-p", "--package"],
  valueOptions: ["--registry", "--userconfig", "--cache"],
} as const;
const pypi = {
  registry: "PyPI",
  packageOptions: ["--from", "--spec"],
  valueOptions: ["--with", "-p", "--python", "--index", "--index-url", "--extra-index-url", "--default-index"],
} as const;

const RUNNERS: Record<string, { registry: "npm" | "PyPI"; prefix: string[] }[]> = {
  npx: [{ registry: "npm", prefix: [] }],
  bunx: [{ registry: "npm", prefix: [] }],
  npm: [
    { registry: "npm", prefix: ["exec"] },
    { registry: "npm", prefix: ["x"] },
  ],
  pnpm: [{ registry: "npm", prefix: ["dlx"] }],
  yarn: [{ registry: "npm", prefix: ["dlx"] }],
  uvx: [{ registry: "PyPI", prefix: [] }],
  uv: [{ registry: "PyPI", prefix: ["tool", "run"] }],
  pipx: [{ registry: "PyPI", prefix: ["run"] }],
};

/** The name of a program without its folder and Windows' suffix. */
export function programName(command: string): string {
  return (command.split(/[/\\]/).at(-1) ?? "").replace(/\.(?:cmd|exe|bat|ps1)$/i, "").toLowerCase();
}

/** The package that a command runs; null when it runs none. */
export function packageOf(command: string, args: readonly string[]): PackageReference | null {
  for (const runner of runnersOf(command)) {
    if (runner.prefix.every((word, index) => args[index] === word)) return findPackage(runner, args);
  }
  return null;
}

function runnersOf(command: string): Runner[] {
  const name = programName(command);
  const runners = Object.hasOwn(RUNNERS, name) ? (RUNNERS[name] ?? []) : [];
  return runners.map(({ registry, prefix }) => {
    const { packageOptions, valueOptions } = registry === "npm" ? npm : pypi;
    return { registry, prefix, packageOptions: [...packageOptions], valueOptions: [...valueOptions] };
  });
}

function findPackage(runner: Runner, args: readonly string[]): PackageReference | null {
  for (let index = runner.prefix.length; index < args.length; index++) {
    const arg = args[index] ?? "";
    const [option = "", inline] = arg.split(/=(.*)/s);
    if (runner.packageOptions.includes(option)) {
      const value = inline ?? args[index + 1];
      return value === undefined
        ? null
        : parseReference(runner.registry, value, inline === undefined ? index + 1 : index);
    }
    // What follows an option for a secret is no package's name, and must not be shown as one.
    if (runner.valueOptions.includes(arg) || (arg.startsWith("-") && looksSecret(arg))) index++;
    else if (!arg.startsWith("-")) return parseReference(runner.registry, arg, index);
  }
  return null;
}

function parseReference(
  registry: PackageReference["registry"],
  text: string,
  argIndex: number,
): PackageReference | null {
  if (/^(?:git\+|github:|https?:)/.test(text)) {
    return {
      registry,
      name: text.replace(/[#@][^#@/]*$/, ""),
      version: null,
      pinned: /[#@][0-9a-f]{40}$/.test(text),
      argIndex,
    };
  }
  const match =
    registry === "npm"
      ? /^((?:@[\w.-]+\/)?[\w.-]+)(?:@(.+))?$/.exec(text)
      : /^([\w.-]+(?:\[[\w,.-]*\])?)(?:(?:==|@)(.+)|[<>~!]=?.*)?$/.exec(text);
  const [, name, version] = match ?? [];
  if (name === undefined) return null;
  const pinned =
    version !== undefined &&
    (registry === "npm" ? /^\d+\.\d+\.\d+(?:[-+].+)?$/ : /^\d+(?:\.\d+)+[\w.+!-]*$/).test(version);
  return { registry, name, version: version ?? null, pinned, argIndex };
}

export interface ImageReference {
  /** With registry and path, without tag and digest. */
  name: string;
  tag: string | null;
  digest: string | null;
}

/** Parts of a container image's name; null when it is not one. */
export function parseImage(text: string): ImageReference | null {
  const match =
    /^((?:[\w.-]+(?::\d+)?\/)?[\w.-]+(?:\/[\w.-]+)*)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(text);
  const [, name, tag, digest] = match ?? [];
  return name === undefined ? null : { name, tag: tag ?? null, digest: digest ?? null };
}
