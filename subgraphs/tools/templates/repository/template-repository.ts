import type { FileProblem } from "../../yaml-text.ts";
import type { Template } from "../template.ts";

/** Where the operator keeps templates: TEMPLATE_REPOSITORY. */
export interface TemplatePlace {
  owner: string;
  name: string;
  /** The folder of the templates' files, without slashes at its ends; "" for the root. */
  folder: string;
  /** A branch, a tag or a commit; null for the default branch. */
  ref: string | null;
}

/** A file of the folder, as of the last commit that was read. */
export interface RepositoryTemplateFile {
  /** Its name. */
  file: string;
  /** Git's id of its content. */
  oid: string;
  /** The last one that could be read of it, of an earlier commit where the file is wrong now; null: there was none. */
  template: Template | null;
  problems: FileProblem[];
}

/** What is known of a place. Times are epoch milliseconds. */
export interface TemplateRepositoryState {
  /** Null: nothing was read yet. */
  commitSha: string | null;
  /** When the commit was first read. */
  syncedAt: number | null;
  /** When GitHub was last asked. */
  checkedAt: number;
  /** Why that had no answer; null: it had. */
  lastError: string | null;
}

/** The last good catalogue, for when GitHub is away. Several processes may have it open. `place` is as TEMPLATE_REPOSITORY names it. */
export interface TemplateRepositoryStore {
  state(place: string): Promise<TemplateRepositoryState | null>;
  files(place: string): Promise<RepositoryTemplateFile[]>;
  /**
   * Writes a commit's files in place of all earlier ones, other places' too. False, and nothing is written, where another process wrote a
   * commit since `before` was the state's.
   */
  replace(
    place: string,
    before: string | null,
    read: { commitSha: string; files: readonly RepositoryTemplateFile[]; at: number },
  ): Promise<boolean>;
  /** Notes that GitHub was asked, and what it failed by. The files stay. */
  checked(place: string, at: number, error: string | null): Promise<void>;
}
