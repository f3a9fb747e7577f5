// An option that may stand several times: `--path a --path b`.

/** For commander: collects the values in order. */
export function repeated(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}
