// What a restore thread does with its tasks: open, check, write. The thread around it is restore-worker.ts.
//
// Hazard: everything that arrives here was made by somebody else. Chunks are opened against their ids before a byte of
// them is used; paths were checked by the main thread (TreeValidator) and are checked again by the target.
//
// An error of one entry is a warning with its path, and the rest goes on; an error that no other entry would escape (disk
// full) is thrown and ends the restore.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { tagOf } from '@holdfast/shared/format/tag';
import { checkPieces, checksumOf, metadataOf, piecesOf } from './entry-content.ts';
import { endsWhole } from './error-reach.ts';
import { writeEntry, type WriterDeps } from './entry-writer.ts';
import { lookAt } from './existing-look.ts';
import { KeyRing } from './key-ring.ts';
import { comparePart, writePart } from './large-file-part.ts';
import { LargeFiles } from './large-files.ts';
import { keyOf, OpenedChunks } from './opened-chunks.ts';
import { unpackPieces } from './packed-pieces.ts';
import {
  asBuffer,
  type PostedLeaf,
  type RestoreAnswer,
  type RestoreTask,
  type RestoreThreadData,
} from './restore-task.ts';
import { TaskResult } from './task-result.ts';
import { RestoreTarget } from './target/restore-target.ts';

/** Plain bytes of opened chunks that a thread keeps. */
const OPENED_BYTES = 4 * 1024 * 1024;

type Task<K extends RestoreTask['kind']> = Extract<RestoreTask, { kind: K }>;

export class RestoreThread {
  readonly #data: RestoreThreadData;
  readonly #target: RestoreTarget | undefined;
  readonly #chunks: OpenedChunks;
  readonly #tagOf: (bytes: Buffer) => Buffer;
  readonly #large = new LargeFiles();
  #leaf: { readonly key: string; readonly view: LeafView } | undefined;
  #result = new TaskResult();

  constructor(data: RestoreThreadData) {
    this.#data = data;
    const keys = new KeyRing(data.domainSecret, data.domainId);
    this.#chunks = new OpenedChunks(
      (envelope, id) => keys.open(envelope, { id, kind: ObjectKind.chunk }).plain,
      OPENED_BYTES,
    );
    const tagKeys = keys.forEpoch(0);
    this.#tagOf = (bytes) => tagOf(tagKeys, bytes);
    if (data.target !== undefined) {
      const { path, root, into, setuid } = data.target;
      const onWarning = (at: ByteString, message: string): void => this.#result.warn('metadata', at, message);
      this.#target = RestoreTarget.open(path, { root, into, setuid, replaceOtherTypes: into === 'merge', onWarning });
    }
  }

  run(task: RestoreTask): RestoreAnswer {
    this.#result = new TaskResult();
    this.#chunks.supply('chunks' in task ? task.chunks : []);
    this.#perform(task);
    return this.#result.answer();
  }

  #perform(task: RestoreTask): void {
    switch (task.kind) {
      case 'entries':
        return this.#data.mode === 'verify' ? this.#checkEntries(task) : this.#writeEntries(task);
      case 'examine':
        return this.#examine(task);
      case 'file-examine':
        return this.#large.examine(this.#target, task.file, this.#entryOf(task), task.index, this.#result);
      case 'file-compare':
        this.#result.marks = comparePart(task, this.#tagOf);
        return;
      case 'file-open':
        return this.#large.open(this.#existingTarget(), task.file, this.#entryOf(task), task, this.#result);
      case 'file-part':
        return this.#data.mode === 'verify' ? this.#checkPart(task) : writePart(task, this.#chunks, this.#tagOf);
      case 'file-end':
        if (this.#target !== undefined) this.#large.end(task.file, task.keep, this.#writer(), this.#result);
        return;
      case 'links':
        return this.#link(task);
      case 'directories':
        return this.#deferDirectories(task);
      case 'prune':
        return this.#prune(task);
      case 'settle':
        return this.#existingTarget().settle((path, error) => this.#result.warn('metadata', path, error.message));
      case 'sync':
        return this.#existingTarget().sync();
      case 'close':
        this.#large.closeAll();
        this.#target?.close();
    }
  }

  #writeEntries(task: Task<'entries'>): void {
    const leaf = this.#leafOf(task.leaf);
    const writer = this.#writer();
    task.entries.forEach((index, at) => {
      this.#each(leaf, index, () => {
        const entry = leaf.entry(index);
        const look = task.looks?.[at];
        if (writer.target !== undefined && look !== undefined) this.#keepDirectory(entry.path, entry.stat, writer);
        writeEntry(writer, entry, index, look, this.#result);
      });
    });
  }

  /** A directory gives way to something else only where that was asked for: what is in it may be in no snapshot. */
  #keepDirectory(path: ByteString, stat: Buffer, writer: WriterDeps): void {
    if (writer.replaceDirectories || statType(stat) === 'directory') return;
    const there = writer.target.look(path);
    if (there === undefined || statType(there) !== 'directory') return;
    throw new HoldfastError('ALREADY_EXISTS', `there is a directory where the snapshot has a ${statType(stat)}`);
  }

  #checkEntries(task: Task<'entries'>): void {
    const leaf = this.#leafOf(task.leaf);
    for (const index of task.entries) {
      this.#each(leaf, index, () => {
        const entry = leaf.entry(index);
        metadataOf(entry, this.#chunks);
        if (statType(entry.stat) === 'file') {
          const pieces = piecesOf(entry);
          this.#result.bytes += checkPieces(pieces, this.#chunks, this.#tagOf);
          if (this.#data.checksums === true) this.#result.checksum(index, checksumOf(pieces, this.#chunks));
          this.#result.files++;
        }
        this.#result.entries++;
      });
    }
  }

  #checkPart({ pieces }: Task<'file-part'>): void {
    const checked = unpackPieces(pieces);
    checkPieces(checked, this.#chunks, this.#tagOf);
    if (this.#data.checksums === true) this.#result.checksum(0, checksumOf(checked, this.#chunks));
  }

  #examine(task: Task<'examine'>): void {
    const leaf = this.#leafOf(task.leaf);
    const looks = new Uint8Array(task.entries.length);
    const needs = new Set<number>();
    task.entries.forEach((index, at) => {
      this.#each(leaf, index, () => {
        const entry = leaf.entry(index);
        const found = lookAt(this.#target, entry, this.#tagOf);
        looks[at] = found.look;
        for (const chunk of found.needs) needs.add(chunk.index);
        if (this.#data.mode === 'dry-run' && statType(entry.stat) === 'file') {
          this.#result.files++;
          this.#result.bytes += statSize(entry.stat);
        }
      });
    });
    this.#result.looks = looks;
    this.#result.marks = Uint32Array.from(needs);
  }

  #link(task: Task<'links'>): void {
    const target = this.#existingTarget();
    for (const { path, existing, inode } of task.links) {
      try {
        if (!sameInode(target.look(path), target.look(existing))) target.hardLink(existing, path, inode);
        this.#result.entries++;
      } catch (thrown) {
        const error = toHoldfastError(thrown);
        if (endsWhole(error)) throw error;
        this.#result.warn('not-restored', path, error.message);
      }
    }
  }

  #deferDirectories(task: Task<'directories'>): void {
    const target = this.#existingTarget();
    for (const directory of task.directories) {
      const xattrs = directory.xattrs.map(({ name, value }) => ({ name, value: asBuffer(value) }));
      target.deferDirectory(directory.path, { ...directory, stat: asBuffer(directory.stat), xattrs });
    }
  }

  #prune(task: Task<'prune'>): void {
    const target = this.#target;
    const there = target?.look(task.directory);
    if (target === undefined || there === undefined || statType(there) !== 'directory') return;
    for (const name of target.list(task.directory)) {
      if (task.names.has(name)) continue;
      const path = task.directory === '' ? name : `${task.directory}/${name}`;
      try {
        if (this.#data.mode !== 'dry-run') target.remove(path);
        this.#result.removed(path);
      } catch (thrown) {
        const error = toHoldfastError(thrown);
        if (endsWhole(error)) throw error;
        this.#result.warn('not-removed', path, error.message);
      }
    }
  }

  /** One entry's error stays that entry's. */
  #each(leaf: LeafView, index: number, act: () => void): void {
    try {
      act();
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      if (endsWhole(error)) throw error;
      this.#result.fail(index, leaf.path(index), error);
    }
  }

  #entryOf(task: { readonly leaf: PostedLeaf; readonly index: number }): PlacedEntry {
    return this.#leafOf(task.leaf).entry(task.index);
  }

  #leafOf(posted: PostedLeaf): LeafView {
    const key = keyOf(posted.id);
    if (this.#leaf?.key === key) return this.#leaf.view;
    const none = Buffer.alloc(0);
    const view = LeafView.open(asBuffer(posted.id), none, asBuffer(posted.references), asBuffer(posted.payload));
    this.#leaf = { key, view };
    return view;
  }

  #existingTarget(): RestoreTarget {
    if (this.#target === undefined) throw new HoldfastError('INTERNAL', 'a task that writes, without a target');
    return this.#target;
  }

  #writer(): WriterDeps {
    return {
      target: this.#existingTarget(),
      chunks: this.#chunks,
      tagOf: this.#tagOf,
      targetWarnings: () => this.#result.warningsTotal,
      replaceDirectories: this.#data.target?.replaceDirectories === true,
    };
  }
}

function sameInode(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a !== undefined && b !== undefined && a.compare(b, INODE_AT, INODE_AT + 8, INODE_AT, INODE_AT + 8) === 0;
}

const INODE_AT = 24;
