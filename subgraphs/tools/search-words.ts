import { badInput } from "@toolyard/service-kit";

const MAX_SEARCH_LENGTH = 200;
const MAX_SEARCH_WORDS = 16;

/** The words of a search. @throws ToolyardError BAD_USER_INPUT where they are too many */
export function searchWords(search: string): string[] {
  const words = search.split(/\s+/u).filter((word) => word !== "");
  if (search.length > MAX_SEARCH_LENGTH || words.length > MAX_SEARCH_WORDS) {
    const message = `must have at most ${MAX_SEARCH_LENGTH} characters and ${MAX_SEARCH_WORDS} words`;
    throw badInput([{ path: "search", message }]);
  }
  return words;
}
