// A site that changes from round to round, by a seeded choice: small files, large ones, some deleted, all content new.

import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import type { Random } from './seeded.ts';

const SMALL_FILES = 60;
const SMALL_MAX_BYTES = 8000;
/** All small files together, at most. */
export const SMALL_FILES_MAX_BYTES = SMALL_FILES * SMALL_MAX_BYTES;
const LARGE_FILES = 4;
const LARGE_BYTES = 1_000_000;

export class ChangingSite {
  readonly root: string;
  readonly #random: Random;
  #round = 0;

  constructor(root: string, random: Random) {
    this.root = root;
    this.#random = random;
    mkdirSync(join(root, 'small'), { recursive: true });
  }

  /** Bytes that no backup has seen yet; none of them can be compressed. */
  change(): number {
    this.#round++;
    let bytes = 0;
    const write = (name: string, length: number): void => {
      writeFileSync(join(this.root, name), seededBytes(`${this.root} ${name} ${this.#round}`, length));
      bytes += length;
    };
    for (let i = 0; i < SMALL_FILES; i++) {
      const name = `small/${i}`;
      const choice = this.#random();
      if (choice < 0.5) write(name, Math.floor(this.#random() * SMALL_MAX_BYTES));
      else if (choice < 0.6) rmSync(join(this.root, name), { force: true });
    }
    for (let i = 0; i < LARGE_FILES; i++) {
      if (this.#random() < 0.6) write(`large-${i}`, Math.floor((0.5 + this.#random()) * 2 * LARGE_BYTES));
    }
    return bytes;
  }
}

/** Of every path below `root` and the content of its file. */
export function digestOf(root: string): string {
  const digest = createHash('sha256');
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' }).toSorted()) {
    const path = join(root, name);
    digest.update(`${name}\0`);
    if (lstatSync(path).isFile()) digest.update(createHash('sha256').update(readFileSync(path)).digest());
  }
  return digest.digest('hex');
}
