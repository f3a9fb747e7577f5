// One line that tells how a job goes, rewritten in place: phase, files, bytes, rate, time left, the path in work.
//
// Hazard: a line longer than the terminal wraps, and rewriting it leaves garbage. So what matters least is left out until it fits,
// and a path shows its end. Pure but for `ProgressLine`, which writes; a terminal is assumed, and the caller sees to that.

import type { Writable } from 'node:stream';
import type { JobProgress } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { counted, formatCount, formatSize } from '../words/sizes.ts';
import { formatDuration } from '../words/times.ts';

/** Bytes a second, averaged over about the last RATE_WINDOW_MS; 0 until two samples apart were seen. */
export class RateMeter {
  #lastMs: number | undefined;
  #lastBytes = 0;
  #rate = 0;

  add(bytes: number, nowMs: number): number {
    if (this.#lastMs === undefined || bytes < this.#lastBytes) {
      this.#lastMs = nowMs;
      this.#lastBytes = bytes;
      return this.#rate;
    }
    const elapsedMs = nowMs - this.#lastMs;
    if (elapsedMs < MIN_SAMPLE_MS) return this.#rate;
    const sample = ((bytes - this.#lastBytes) * 1000) / elapsedMs;
    const weight = this.#rate === 0 ? 1 : 1 - Math.exp(-elapsedMs / RATE_WINDOW_MS);
    this.#rate += weight * (sample - this.#rate);
    this.#lastMs = nowMs;
    this.#lastBytes = bytes;
    return this.#rate;
  }
}

const RATE_WINDOW_MS = 3000;
const MIN_SAMPLE_MS = 100;

/** The line without its path, and then as much of the path's end as fits in `columns`. */
export function progressText(progress: JobProgress, rate: number, columns: number): string {
  const filesTotal = Number(progress.filesTotal);
  const bytesDone = Number(progress.bytesDone);
  const bytesTotal = Number(progress.bytesTotal);
  const parts = [progress.phase.padEnd(6)];
  if (bytesTotal > 0) parts.push(`${Math.min(100, Math.floor((bytesDone / bytesTotal) * 100))} %`);
  const filesDone = Number(progress.filesDone);
  parts.push(
    filesTotal > 0 ? `${formatCount(filesDone)} of ${counted(filesTotal, 'file')}` : counted(filesDone, 'file'),
  );
  parts.push(`${formatSize(bytesDone)}${bytesTotal > 0 ? ` of ${formatSize(bytesTotal)}` : ''}`);
  const files = parts.length - 2;
  const fresh = progress.bytesNew > 0n ? [`new ${formatSize(Number(progress.bytesNew))}`] : [];
  const speed = rate > 0 ? [`${formatSize(rate)}/s`] : [];
  const left =
    rate > 0 && bytesTotal > bytesDone ? [`${formatDuration(((bytesTotal - bytesDone) / rate) * 1000)} left`] : [];
  const line =
    [
      [...parts, ...fresh, ...speed, ...left],
      [...parts, ...speed, ...left],
      [...parts, ...left],
      [...parts.toSpliced(files, 1), ...left],
    ]
      .map((some) => some.join('  '))
      .find((some) => some.length < columns) ?? parts.join('  ').slice(0, columns - 1);
  return line + tail(progress.currentPath, columns - 1 - line.length);
}

function tail(path: string, room: number): string {
  if (path === '' || room < 12) return '';
  return path.length + 2 <= room ? `  ${path}` : `  …${path.slice(path.length - (room - 3))}`;
}

export class ProgressLine {
  readonly #stream: Writable;
  readonly #columns: () => number;
  readonly #now: () => number;
  #meter = new RateMeter();
  #drawn = false;
  #phase = '';

  constructor(stream: Writable, columns: () => number, now: () => number) {
    this.#stream = stream;
    this.#columns = columns;
    this.#now = now;
  }

  draw(progress: JobProgress): void {
    if (progress.phase !== this.#phase) this.#meter = new RateMeter();
    this.#phase = progress.phase;
    const rate = this.#meter.add(Number(progress.bytesDone), this.#now());
    this.#stream.write(`\r${progressText(progress, rate, this.#columns())}\x1b[K`);
    this.#drawn = true;
  }

  /** Takes the line away, so that the next output starts on a clean one. */
  clear(): void {
    if (this.#drawn) this.#stream.write('\r\x1b[K');
    this.#drawn = false;
  }
}
