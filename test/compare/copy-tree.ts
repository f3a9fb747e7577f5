// A copy of a tree by the scan's walk and the restore's writer alone, with no vault in between: what these two lose between
// them shows in the copy.

import { fromText } from '@holdfast/shared/base/byte-string';
import type { HoldfastError } from '@holdfast/shared/base/errors';
import {
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  statIno,
  statMode,
  statNlink,
} from '@holdfast/shared/format/manifest/stat-record';
import type { CapturedMetadata } from '@holdfast/agent/scan/capture';
import type { OpenedFile } from '@holdfast/agent/scan/opened-file';
import { Walk, type WalkOptions } from '@holdfast/agent/scan/walk';
import { RestoreTarget, type EntryMetadata, type TargetOptions } from '@holdfast/agent/restore/target/restore-target';

export interface Copied {
  readonly entries: number;
  /** What either side had to say, as 'path: message'. */
  readonly remarks: readonly string[];
}

export interface CopyOptions {
  readonly target?: Partial<TargetOptions>;
  readonly walk?: Partial<WalkOptions>;
  /** Called with each path before it is written. */
  readonly beforeEntry?: (path: string) => void;
  /** Given: an entry's error goes here and the copy goes on. Otherwise it is thrown. */
  readonly onError?: (path: string, error: unknown) => void;
}

/** Both are absolute paths, as text; `to` is created if it is missing. */
export function copyTree(from: string, to: string, options: CopyOptions = {}): Copied {
  const remarks: string[] = [];
  const into = options.target?.into ?? 'fresh';
  RestoreTarget.prepare(fromText(to), { intoNonEmpty: into === 'merge' });
  const walk = new Walk({
    root: fromText(from),
    onNote: ({ path, kind, message }) => remarks.push(`${path}: ${kind} ${message}`),
    ...options.walk,
  });
  try {
    const target = RestoreTarget.open(fromText(to), {
      into,
      setuid: true,
      onWarning: (path, message) => remarks.push(`${path}: ${message}`),
      ...options.target,
    });
    try {
      return { entries: new Copier(walk, target, remarks, options).run(), remarks };
    } finally {
      target.close();
    }
  } finally {
    walk.close();
  }
}

class Copier {
  readonly #walk: Walk;
  readonly #target: RestoreTarget;
  readonly #remarks: string[];
  readonly #options: CopyOptions;
  readonly #linked = new Map<string, { path: string; inode: bigint }>();
  readonly #buffer = Buffer.alloc(1024 * 1024);

  constructor(walk: Walk, target: RestoreTarget, remarks: string[], options: CopyOptions) {
    this.#walk = walk;
    this.#target = target;
    this.#remarks = remarks;
    this.#options = options;
  }

  run(): number {
    let entries = 0;
    while (this.#walk.next()) {
      entries++;
      const path = this.#walk.path;
      this.#options.beforeEntry?.(path);
      try {
        this.#copyEntry();
      } catch (error) {
        if (this.#options.onError === undefined) throw error;
        this.#options.onError(path, error);
      }
    }
    this.#target.settle((path: string, error: HoldfastError) => {
      if (this.#options.onError === undefined) throw error;
      this.#options.onError(path, error);
    });
    return entries;
  }

  #copyEntry(): void {
    const { path, stat, fileSystem } = this.#walk;
    const type = statMode(stat) & S_IFMT;
    if (type === S_IFDIR) {
      this.#target.createDirectory(path);
      this.#target.deferDirectory(path, this.#metadata(this.#walk.capture(), stat));
      return;
    }
    const key = `${fileSystem}:${statIno(stat)}`;
    const first = statNlink(stat) > 1 ? this.#linked.get(key) : undefined;
    if (first !== undefined) {
      this.#target.hardLink(first.path, path, first.inode);
      return;
    }
    let inode: bigint | undefined;
    if (type === S_IFREG) inode = this.#copyFile();
    else {
      const captured = this.#walk.capture();
      const metadata = this.#metadata(captured, stat);
      if (type === S_IFLNK) this.#target.createSymlink(path, captured.linkTarget, metadata);
      else if (this.#target.createSpecial(path, metadata) === 'skipped') return;
    }
    if (statNlink(stat) < 2) return;
    inode ??= statIno(this.#target.look(path)!);
    this.#linked.set(key, { path, inode });
  }

  #copyFile(): bigint | undefined {
    const opened = this.#walk.openFile();
    if (opened.kind !== 'opened') {
      this.#remarks.push(`${this.#walk.path}: ${opened.kind}`);
      return undefined;
    }
    const { file } = opened;
    try {
      const captured = this.#walk.capture(file);
      const written = this.#target.createFile(this.#walk.path, file.size, captured.inodeFlags);
      try {
        this.#copyContent(file, written);
        if (!file.stillTheSame()) this.#remarks.push(`${this.#walk.path}: changed while it was read`);
        written.finish(this.#metadata(captured, file.stat));
      } catch (error) {
        written.abandon();
        throw error;
      }
      return statNlink(file.stat) > 1 ? written.inode : undefined;
    } finally {
      file.close();
    }
  }

  #copyContent(file: OpenedFile, written: ReturnType<RestoreTarget['createFile']>): void {
    for (const extent of file.extents()) {
      if (extent.kind === 'hole') written.makeHole(extent.offset, extent.length);
      else if (extent.kind === 'zeros') written.writeZeros(extent.offset, extent.length);
      else {
        const end = extent.offset + extent.length;
        for (let at = extent.offset; at < end;) {
          const length = file.read(this.#buffer, 0, Math.min(this.#buffer.length, end - at), at);
          if (length === 0) break;
          written.write(this.#buffer, 0, length, at);
          at += length;
        }
      }
    }
  }

  #metadata(captured: CapturedMetadata, stat: Buffer): EntryMetadata {
    for (const problem of captured.problems) this.#remarks.push(`${this.#walk.path}: ${problem}`);
    return { ...captured, stat };
  }
}
