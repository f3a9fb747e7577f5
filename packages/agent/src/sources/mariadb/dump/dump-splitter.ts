// A dump, as the dump program writes it, split into parts: a table each, and what stands around them. Put together in order the
// parts are the dump, with its statements regrouped.
//
// Hazards: a dump that ended early (its last line is asked for, `complete`); a line of any length (passed on in pieces beyond
// LINE_BYTES); a comment in a routine that reads like one of the dump program's (a part then begins there, in order all the same;
// a part that was there already is not begun again).
//
// Invariants (dump-splitter.test.ts): the parts in order are the dump; each path once; the position and the GTIDs are found.
//
// Pure.

import { StatementRegrouper } from './statement-regrouper.ts';

export interface PartSink {
  /** A new part: what was open is ended. */
  begin(path: string): void;
  /** The bytes may be used again when it returns. */
  write(bytes: Buffer): void;
}

/** What a dump says of where it stands. */
export interface DumpPosition {
  /** '' when the server keeps no binary log. */
  readonly file: string;
  readonly offset: number;
  readonly gtid: string;
}

const LINE_BYTES = 4 * 1024 * 1024;
const NEWLINE = 0x0a;
const DASH = 0x2d;

export class DumpSplitter {
  readonly #sink: PartSink;
  readonly #regrouper: StatementRegrouper;
  readonly #paths = new Set<string>();
  #carry: Buffer[] = [];
  #carryBytes = 0;
  /** Within a line that is longer than LINE_BYTES. */
  #long = false;
  #database = '';
  #file = '';
  #offset = 0;
  #gtid = '';
  #complete = false;

  constructor(sink: PartSink) {
    this.#sink = sink;
    this.#regrouper = new StatementRegrouper((bytes) => sink.write(bytes));
    this.#begin('dump/header.sql');
  }

  push(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, from);
      if (newline < 0) {
        this.#keep(bytes.subarray(from));
        return;
      }
      this.#endOfLine(bytes.subarray(from, newline + 1));
      from = newline + 1;
    }
  }

  finish(): void {
    if (this.#carryBytes > 0) this.#endOfLine(Buffer.alloc(0));
    this.#regrouper.close();
  }

  /** In the dump's order. */
  get parts(): readonly string[] {
    return [...this.#paths];
  }

  get position(): DumpPosition {
    return { file: this.#file, offset: this.#offset, gtid: this.#gtid };
  }

  /** Whether the dump program came to its end. */
  get complete(): boolean {
    return this.#complete;
  }

  #keep(bytes: Buffer): void {
    if (this.#long) {
      this.#sink.write(bytes);
      return;
    }
    this.#carry.push(Buffer.from(bytes));
    this.#carryBytes += bytes.length;
    if (this.#carryBytes <= LINE_BYTES) return;
    this.#regrouper.line(Buffer.concat(this.#carry));
    this.#carry = [];
    this.#carryBytes = 0;
    this.#long = true;
  }

  #endOfLine(bytes: Buffer): void {
    if (this.#long) {
      this.#sink.write(bytes);
      this.#long = false;
      return;
    }
    if (this.#carryBytes === 0) {
      this.#line(bytes);
      return;
    }
    const line = Buffer.concat([...this.#carry, bytes]);
    this.#carry = [];
    this.#carryBytes = 0;
    this.#line(line);
  }

  #line(line: Buffer): void {
    if (line[0] === DASH && line[1] === DASH && line.length > 4 && line.length < 1024) {
      const path = this.#commentedPath(line.toString('utf8').trimEnd());
      if (path !== undefined && !this.#paths.has(path)) this.#begin(path);
    }
    this.#regrouper.line(line);
  }

  #begin(path: string): void {
    this.#regrouper.close();
    this.#paths.add(path);
    this.#sink.begin(path);
  }

  /** The part that a comment of the dump program begins. */
  #commentedPath(line: string): string | undefined {
    this.#note(line);
    const said = /^-- (.+?):? `(.*)`$/.exec(line) ?? /^-- (.+) '(.*)'$/.exec(line);
    const name = pathName(said?.[2]?.replaceAll('``', '`') ?? '');
    const folder = `dump/${pathName(this.#database)}`;
    switch (said?.[1]) {
      case 'Current Database':
        this.#database = said[2]?.replaceAll('``', '`') ?? '';
        return this.#paths.has(`dump/${name}/schema/create.sql`)
          ? `dump/${name}/schema/views.sql`
          : `dump/${name}/schema/create.sql`;
      case 'Table structure for table':
        return `${folder}/${name}.sql`;
      case 'Temporary table structure for view':
      case 'Temporary view structure for view':
        return `${folder}/schema/views/${name}.sql`;
      case 'Dumping events for database':
        return `${folder}/schema/events.sql`;
      case 'Dumping routines for database':
        return `${folder}/schema/routines.sql`;
      default:
        return line.startsWith('-- The deferred gtid setting') ? 'dump/trailer.sql' : undefined;
    }
  }

  #note(line: string): void {
    const position = /_LOG_FILE='([^']+)', (?:MASTER|SOURCE)_LOG_POS=(\d+)/.exec(line);
    if (position !== null && this.#file === '') {
      this.#file = position[1] ?? '';
      this.#offset = Number(position[2]);
    }
    this.#gtid = /^-- SET GLOBAL gtid_slave_pos='([^']*)'/.exec(line)?.[1] ?? this.#gtid;
    this.#complete = line.startsWith('-- Dump completed');
  }
}

/** A name of the server as a name of a file: what a path can't hold is written as %XX of its UTF-8 bytes. */
export function pathName(name: string): string {
  const unsafe = /^\.{1,2}$/.test(name) ? name : '';
  const bytes = Buffer.from(name, 'utf8');
  let path = '';
  for (const byte of bytes) {
    const escape = byte === 0x2f || byte === 0x25 || byte < 0x20 || unsafe !== '';
    path += escape ? `%${byte.toString(16).padStart(2, '0')}` : String.fromCharCode(byte);
  }
  return path;
}
