// One look at whether something is well: a page, a port, an answer of a database.
//
// What a look finds is said, never thrown. What to make of it, and how often to look again, is in check-steps.ts.

/** What is looked at. */
export type LookTarget =
  | { readonly kind: 'http'; readonly url: string; readonly contains?: string | undefined }
  | { readonly kind: 'tcp'; readonly address: string }
  | {
      readonly kind: 'sql';
      readonly engine: string;
      readonly settings: Readonly<Record<string, string>>;
      readonly query: string;
      readonly maxAgeMs?: number | undefined;
    };

export interface Look {
  readonly well: boolean;
  /** One sentence, whatever was found. */
  readonly message: string;
  readonly facts: Readonly<Record<string, string>>;
}

/** Of one look. */
export const LOOK_MS = 10_000;
