import type { DatabasePoint } from '@holdfast/shared/format/log-point';

/** A base's point, as far as its keeper looks at it. */
export function pointAt(order: bigint, timeline = 1): DatabasePoint {
  const position = { order, text: String(order) };
  return {
    stream: { systemIdentifier: '7', timeline },
    start: position,
    end: position,
    startAtMs: 1,
    endAtMs: 2,
    serverVersion: '15',
    suspect: false,
    hasLog: true,
    gtid: '',
  };
}
