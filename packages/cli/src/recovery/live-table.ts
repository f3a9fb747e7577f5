// The steps of a run as a table that is redrawn in place.
//
// Hazard: a table that is higher than the terminal scrolls, and redrawing it leaves garbage. So what is done, and then what waits, is left out
// until it fits. A terminal is assumed, and the caller sees to that.

import type { Writable } from 'node:stream';
import type { StepInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { plainText } from '../words/plain-text.ts';
import { formatDuration } from '../words/times.ts';
import type { FollowedRun } from './followed-run.ts';
import { modeWords, stepLines } from './run-words.ts';

const QUIET = new Set(['ok', 'skipped', 'undone']);

/** The lines of a run as it stands, none longer than `columns`, at most `rows` of them. Pure. */
export function liveLines({ run, steps }: FollowedRun, nowMs: number, columns: number, rows: number): string[] {
  if (run === undefined) return [];
  const reason = run.reason === '' ? '' : `: ${plainText(run.reason)}`;
  const since = formatDuration(nowMs - Number(run.startedAtMs));
  const title = `${modeWords(run)} of ${run.plan}, ${run.fromHost} → ${run.toHost}: ${run.state}${reason}  ${since}`;
  const room = Math.max(1, rows - 3);
  const all = [...steps.values()];
  const shown = fitting(all, room);
  const hidden = all.length - shown.length;
  const more = hidden === 0 ? [] : [`  … and ${hidden} more`];
  return [title, ...stepLines(shown, nowMs, columns), ...more].map((line) => clip(line, columns));
}

function fitting(steps: readonly StepInfo[], room: number): readonly StepInfo[] {
  if (steps.length <= room) return steps;
  const busy = steps.filter(({ state }) => !QUIET.has(state));
  if (busy.length >= room) return busy.filter(({ state }) => state !== 'pending').slice(0, room);
  const quiet = steps.filter(({ state }) => QUIET.has(state));
  const kept = new Set([...quiet.slice(busy.length - room), ...busy]);
  return steps.filter((step) => kept.has(step));
}

function clip(text: string, columns: number): string {
  return text.length < columns ? text : `${text.slice(0, Math.max(0, columns - 2))}…`;
}

export class LiveTable {
  readonly #stream: Writable;
  readonly #columns: () => number;
  readonly #rows: () => number;
  readonly #now: () => number;
  #followed: FollowedRun | undefined;
  #drawn = 0;

  constructor(stream: Writable, columns: () => number, rows: () => number, now: () => number) {
    this.#stream = stream;
    this.#columns = columns;
    this.#rows = rows;
    this.#now = now;
  }

  show(followed: FollowedRun): void {
    this.#followed = followed;
    this.draw();
  }

  /** Again: time has passed. */
  draw(): void {
    if (this.#followed === undefined) return;
    const lines = liveLines(this.#followed, this.#now(), this.#columns(), this.#rows());
    this.#stream.write(`${this.#up()}${lines.map((line) => `${line}\x1b[K\n`).join('')}\x1b[J`);
    this.#drawn = lines.length;
  }

  /** Takes the table away, so that the next output starts on a clean line. */
  clear(): void {
    if (this.#drawn > 0) this.#stream.write(`${this.#up()}\x1b[J`);
    this.#drawn = 0;
  }

  #up(): string {
    return this.#drawn === 0 ? '' : `\x1b[${this.#drawn}A\r`;
  }
}
