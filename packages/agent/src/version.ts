/** Of this package; version.test.ts holds the two together. */
export const AGENT_VERSION = '0.1.0';
