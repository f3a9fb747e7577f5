// Rows of a dump's INSERT statements, put together anew so that statements begin where the rows say so.
//
// Why: a dump program begins a statement when a buffer is full. A row that grew moves every later beginning, and content-defined
// chunks, larger than a statement, would all be new. So a statement begins before a row whose first bytes' checksum says so, once
// the one before is long enough: a change is over after one statement.
//
// The rows themselves pass byte for byte. What doesn't look like rows (one a line, `(…),` or `(…);`) passes as it came.
//
// Invariants (statement-regrouper.property.test.ts): the rows are the same, in order, whatever the input's statements were; an
// inserted or changed row changes the statements around it, not the later ones.
//
// Pure.

import { crc32 } from 'node:zlib';

const MIN_STATEMENT_BYTES = 16 * 1024;
const MAX_STATEMENT_BYTES = 1024 * 1024;
/** One row in so many begins a statement that is long enough. */
const ONE_IN = 16;
const HASHED_BYTES = 64;

const OPEN = '('.charCodeAt(0);
const CLOSE = ')'.charCodeAt(0);
const COMMA = ','.charCodeAt(0);
const SEMICOLON = ';'.charCodeAt(0);
const SEPARATOR = Buffer.from(',\n');
const END = Buffer.from(';\n');
const INSERT = Buffer.from('INSERT INTO ');
const VALUES = Buffer.from(' VALUES\n');

export class StatementRegrouper {
  readonly #write: (bytes: Buffer) => void;
  #head: Buffer | undefined;
  #statementBytes = 0;
  #open = false;

  constructor(write: (bytes: Buffer) => void) {
    this.#write = write;
  }

  /** A whole line, with its end. The bytes may be used again when it returns. */
  line(line: Buffer): void {
    const end = line.length - 2;
    const mark = line[end];
    const isRow =
      this.#head !== undefined && line[0] === OPEN && line[end - 1] === CLOSE && (mark === COMMA || mark === SEMICOLON);
    if (isRow) {
      this.#row(line.subarray(0, end));
      return;
    }
    if (line.subarray(0, INSERT.length).equals(INSERT) && line.subarray(-VALUES.length).equals(VALUES)) {
      // The dump program's statement ended, its rows go on.
      if (this.#open && this.#head?.equals(line) === true) return;
      this.close();
      this.#head = Buffer.from(line);
      return;
    }
    this.close();
    this.#write(line);
  }

  /** Ends the statement that is open: something else follows. */
  close(): void {
    if (this.#open) this.#write(END);
    // A head without rows stays one.
    else if (this.#head !== undefined) this.#write(this.#head);
    this.#open = false;
    this.#head = undefined;
    this.#statementBytes = 0;
  }

  #row(row: Buffer): void {
    if (this.#open && this.#begins(row)) {
      this.#write(END);
      this.#open = false;
    }
    if (this.#open) {
      this.#write(SEPARATOR);
    } else {
      this.#write(this.#head ?? Buffer.alloc(0));
      this.#statementBytes = 0;
      this.#open = true;
    }
    this.#write(row);
    this.#statementBytes += row.length + SEPARATOR.length;
  }

  #begins(row: Buffer): boolean {
    if (this.#statementBytes + row.length > MAX_STATEMENT_BYTES) return true;
    return this.#statementBytes >= MIN_STATEMENT_BYTES && crc32(row.subarray(0, HASHED_BYTES)) % ONE_IN === 0;
  }
}
