// An option that may stand several times: `--path a --path b`.

/** For commander: collects the values in order; `false` is what `--no-…` left. */
export function repeated(value: string, before: readonly string[] | false = []): string[] {
  return [...(before || []), value];
}
