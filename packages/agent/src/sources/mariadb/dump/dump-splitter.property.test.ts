import { expect } from 'chai';
import fc from 'fast-check';
import { DumpSplitter, pathName } from './dump-splitter.ts';
import { StatementRegrouper } from './statement-regrouper.ts';

const row = (id: number, text: string): string => `(${id},'${text}')`;

/** As a dump program writes rows: statements that end when a buffer is full. */
function inserted(rows: readonly string[], bufferBytes: number): string {
  let out = '';
  let statement: string[] = [];
  let bytes = 0;
  const end = (): void => {
    if (statement.length > 0) out += `INSERT INTO \`t\` VALUES\n${statement.join(',\n')};\n`;
    statement = [];
    bytes = 0;
  };
  for (const one of rows) {
    if (bytes + one.length > bufferBytes) end();
    statement.push(one);
    bytes += one.length;
  }
  end();
  return out;
}

function regrouped(text: string): string {
  const out: string[] = [];
  const regrouper = new StatementRegrouper((bytes) => out.push(bytes.toString('latin1')));
  for (const line of text.split(/(?<=\n)/)) regrouper.line(Buffer.from(line, 'latin1'));
  regrouper.close();
  return out.join('');
}

const rowsIn = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('('))
    .map((line) => line.slice(0, -1));

const DUMP = `-- MariaDB dump 10.19
-- CHANGE MASTER TO MASTER_LOG_FILE='mysql-bin.000002', MASTER_LOG_POS=1595;
--
-- Current Database: \`shop\`
--
CREATE DATABASE shop;
--
-- Table structure for table \`a/b\`
--
CREATE TABLE x;
INSERT INTO \`a/b\` VALUES
(1,'-- Table structure for table \`never\`'),
(2,'two');
--
-- Temporary table structure for view \`v\`
--
-- Dumping routines for database 'shop'
--
CREATE PROCEDURE p() BEGIN
-- Table structure for table \`a/b\`
END
--
-- Current Database: \`shop\`
--
-- Final view structure for view \`v\`
-- The deferred gtid setting for slave follows
-- SET GLOBAL gtid_slave_pos='0-7-6,1-1-2';
-- Dump completed
`;

describe('a dump, split', () => {
  const split = (text: string, cuts: readonly number[]) => {
    const parts = new Map<string, string>();
    let path = '';
    const splitter = new DumpSplitter({
      begin(next) {
        expect(parts.has(next), next).to.equal(false);
        parts.set((path = next), '');
      },
      write: (bytes) => parts.set(path, `${parts.get(path)}${bytes.toString('latin1')}`),
    });
    const bytes = Buffer.from(text, 'latin1');
    let from = 0;
    for (const cut of [...cuts, bytes.length]) {
      const to = Math.min(bytes.length, from + cut);
      splitter.push(bytes.subarray(from, to));
      from = to;
    }
    splitter.finish();
    return { splitter, parts };
  };

  it('has its parts in order, the position, the GTIDs and the end, however its bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200 })), (cuts) => {
        const { splitter, parts } = split(DUMP, cuts);
        expect([...parts.values()].join('')).to.equal(DUMP);
        expect([...parts.keys()]).to.deep.equal([
          'dump/header.sql',
          'dump/shop/schema/create.sql',
          'dump/shop/a%2fb.sql',
          'dump/shop/schema/views/v.sql',
          'dump/shop/schema/routines.sql',
          'dump/shop/schema/views.sql',
          'dump/trailer.sql',
        ]);
        expect(splitter.position).to.deep.equal({ file: 'mysql-bin.000002', offset: 1595, gtid: '0-7-6,1-1-2' });
        expect(splitter.complete).to.equal(true);
      }),
    );
  });

  it('is not complete when its last line is missing', () => {
    expect(split(DUMP.replace('-- Dump completed\n', ''), []).splitter.complete).to.equal(false);
  });

  it('passes a line that is longer than its bound', () => {
    const long = `INSERT INTO \`t\` VALUES\n(1,'${'x'.repeat(9_000_000)}'),\n(2,'y');\n`;
    const { parts } = split(long, [3_000_000, 3_000_000]);
    expect(rowsIn([...parts.values()].join('')).map((one) => one.length)).to.deep.equal([9_000_006, 7]);
  });

  it('names files so that no table leaves its folder', () => {
    expect(pathName('..')).to.equal('%2e%2e');
    expect(pathName('a/b%\0')).to.equal('a%2fb%25%00');
  });
});

describe('statements, put together anew', () => {
  const words = fc.string({ unit: fc.constantFrom('a', 'b', "\\'", ',', ')', ';', '(') });

  it('has the same rows in the same order, whatever the statements were', () => {
    fc.assert(
      fc.property(
        fc.array(words, { minLength: 1, maxLength: 300 }),
        fc.integer({ min: 10, max: 5000 }),
        (texts, bytes) => {
          const rows = texts.map((text, id) => row(id, text));
          const text = regrouped(inserted(rows, bytes));
          expect(rowsIn(text)).to.deep.equal(rows);
          expect(text).to.equal(regrouped(inserted(rows, 1e9)));
        },
      ),
    );
  });

  it('a row that grew changes the statements around it, and none later', () => {
    const rows = Array.from({ length: 20_000 }, (_, id) => row(id, `text of ${id} `.repeat(8)));
    const before = regrouped(inserted(rows, 100_000)).split('INSERT INTO');
    const changed = rows.with(10_000, row(10_000, 'grown '.repeat(500)));
    const after = regrouped(inserted(changed, 100_000)).split('INSERT INTO');
    const known = new Set(before);
    expect(before.length).to.be.greaterThan(40);
    expect(after.filter((statement) => !known.has(statement)).length).to.be.at.most(3);
  });
});
