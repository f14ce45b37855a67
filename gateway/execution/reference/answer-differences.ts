import { Kind, visit, type DocumentNode, type ExecutionResult } from "graphql";

/** Places as `tools.edges.*.node.name`, with a star for each of a list. None within custom scalars' values: their keys are data. */
export interface Differences {
  /** Where the data differ. */
  data: string[];
  /** Where only one has an error, or their codes differ. */
  errors: string[];
}

type Path = readonly (string | number)[];
const MAX_PLACES = 20;

/**
 * Where two answers to one operation differ for a client. The order of an object's keys, the words of errors, and the choice
 * among several errors that made a null do not count.
 * @returns null when they do not
 */
export function differencesOf(
  one: ExecutionResult,
  other: ExecutionResult,
  document: DocumentNode,
): Differences | null {
  const [text, otherText] = [JSON.stringify(one.data ?? null), JSON.stringify(other.data ?? null)];
  const hasErrors = one.errors !== undefined || other.errors !== undefined;
  if (text === otherText && !hasErrors) return null;
  const data: Path[] = [];
  // In the form in which they are sent.
  if (text !== otherText) compareValues(JSON.parse(text), JSON.parse(otherText), [], data);
  const errors = hasErrors ? differingErrors(one, other) : [];
  if (data.length === 0 && errors.length === 0) return null;
  const responseNames = responseNamesOf(document);
  const told = (paths: readonly Path[]) =>
    [...new Set(paths.map((path) => shown(path, responseNames)))].slice(0, MAX_PLACES);
  return { data: told(data), errors: told(errors) };
}

function compareValues(one: unknown, other: unknown, path: Path, found: Path[]): void {
  if (one === other) return;
  if (!hasParts(one) || !hasParts(other) || Array.isArray(one) !== Array.isArray(other)) {
    found.push(path);
  } else if (Array.isArray(one) && Array.isArray(other)) {
    if (one.length !== other.length) found.push(path);
    else for (const [index, item] of one.entries()) compareValues(item, other[index], [...path, index], found);
  } else {
    for (const key of new Set([...Object.keys(one), ...Object.keys(other)]))
      compareValues(one[key], other[key], [...path, key], found);
  }
}

function differingErrors(one: ExecutionResult, other: ExecutionResult): Path[] {
  const [places, otherPlaces] = [errorPlaces(one), errorPlaces(other)];
  return [...new Set([...places.keys(), ...otherPlaces.keys()])]
    .filter((place) => {
      const [codes, otherCodes] = [places.get(place), otherPlaces.get(place)];
      return !codes || ![...codes].some((code) => otherCodes?.has(code));
    })
    .map((place) => JSON.parse(place) as Path);
}

/** The codes of errors by the place that they made null, as far up as the null went. */
export function errorPlaces({ data, errors = [] }: ExecutionResult): Map<string, Set<unknown>> {
  const places = new Map<string, Set<unknown>>();
  for (const { path = [], extensions } of errors) {
    const place: (string | number)[] = [];
    let value: unknown = data;
    for (const key of path) {
      if (value === null || value === undefined) break;
      place.push(key);
      // Paths of errors lead through objects and lists.
      value = (value as Record<string | number, unknown>)[key];
    }
    const key = JSON.stringify(place);
    // Errors that graphql-js makes itself have no code.
    places.set(key, (places.get(key) ?? new Set()).add(extensions["code"] ?? "INTERNAL_SERVER_ERROR"));
  }
  return places;
}

function shown(path: Path, responseNames: ReadonlySet<string>): string {
  const end = path.findIndex((key) => typeof key === "string" && !responseNames.has(key));
  return path
    .slice(0, end === -1 ? path.length : end)
    .map((key) => (typeof key === "number" ? "*" : key))
    .join(".");
}

function responseNamesOf(document: DocumentNode): Set<string> {
  const names = new Set<string>();
  visit(document, { [Kind.FIELD]: ({ alias, name }) => void names.add((alias ?? name).value) });
  return names;
}

function hasParts(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
