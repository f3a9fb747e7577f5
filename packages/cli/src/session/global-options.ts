// The options that stand before or after any verb.

export interface GlobalOptions {
  readonly json?: boolean;
  readonly domain?: string;
  readonly context?: string;
}
