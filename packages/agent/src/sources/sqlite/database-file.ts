// What an SQLite file says of itself in its first 100 bytes (sqlite.org/fileformat2.html).

const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');
export const SQLITE_HEADER_BYTES = 100;

export interface DatabaseFile {
  /** A power of two, 512 to 65,536. */
  readonly pageBytes: number;
  readonly writeAheadLog: boolean;
}

/** Undefined for what is no SQLite database (an encrypted one is none to us). */
export function databaseFileOf(header: Buffer): DatabaseFile | undefined {
  if (header.length < SQLITE_HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const stored = header.readUInt16BE(16);
  const pageBytes = stored === 1 ? 65_536 : stored;
  if (pageBytes < 512 || (pageBytes & (pageBytes - 1)) !== 0) return undefined;
  return { pageBytes, writeAheadLog: header[19] === 2 };
}
