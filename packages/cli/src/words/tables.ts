// Plain columns for people: no borders, two spaces between, numbers to the right.
//
// Hazard: a line longer than the terminal wraps, and a table that wraps is no table. So a table can be given a width, and then says
// less of what can be said shorter, leaves out what can be spared, and cuts names, in this order, until it fits. Where
// nobody looks at columns (a pipe) there is no width, and everything is there.
//
// Pure. Tested in words.test.ts.

import { wrapped } from './lines.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** A shorter cell that says nearly the same. */
  readonly brief?: (cell: string) => string;
  /** The column may go, the last such first. */
  readonly spare?: boolean;
  /** Cells may be cut to this many characters. */
  readonly cutTo?: number;
}

const GAP = 2;

/** One line a row, the titles first; no trailing blanks. An empty list gives the titles alone. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width = Number.POSITIVE_INFINITY,
): string {
  const cells = columns.map((_, at) => rows.map((row) => row[at] ?? ''));
  const table = fitted(
    columns.map((column, at) => ({ column, cells: cells[at]! })),
    width,
  );
  const widths = table.map(widthOf);
  const line = (cellOf: (stripe: Stripe) => string): string =>
    table
      .map((stripe, at) => pad(cellOf(stripe), widths[at]!, stripe.column.align ?? 'left'))
      .join(' '.repeat(GAP))
      .trimEnd();
  const lines = [line(({ column }) => column.title), ...rows.map((_, at) => line((stripe) => stripe.cells[at]!))];
  return `${lines.join('\n')}\n`;
}

/** A column with its cells. */
interface Stripe {
  readonly column: Column;
  readonly cells: readonly string[];
}

function fitted(table: readonly Stripe[], width: number): readonly Stripe[] {
  let stripes = table;
  for (const stripe of table) {
    const { brief } = stripe.column;
    if (fits(stripes, width) || brief === undefined) continue;
    stripes = stripes.map((other) => (other === stripe ? { ...other, cells: other.cells.map(brief) } : other));
  }
  for (const { column } of stripes.toReversed()) {
    if (fits(stripes, width)) return stripes;
    if (column.spare === true) stripes = stripes.filter((other) => other.column !== column);
  }
  return cut(stripes, width);
}

/** Takes from the widest of the columns that may be cut, until the rest fits or none of them gives any more. */
function cut(table: readonly Stripe[], width: number): readonly Stripe[] {
  let stripes = table;
  for (;;) {
    const excess = total(stripes) - width;
    if (excess <= 0) return stripes;
    const room = ({ column, cells }: Stripe): number =>
      column.cutTo === undefined ? 0 : widthOf({ column, cells }) - Math.max(column.cutTo, column.title.length);
    const widest = stripes.filter((stripe) => room(stripe) > 0).toSorted((a, b) => widthOf(b) - widthOf(a))[0];
    if (widest === undefined) return stripes;
    const next = Math.max(...stripes.filter((other) => other !== widest && room(other) > 0).map(widthOf), 0);
    const own = widthOf(widest);
    // Down to the next widest, so that two long columns are cut alike.
    const by = Math.min(excess, room(widest), Math.max(1, own - next));
    const short = widest.cells.map((cell) => shortened(cell, own - by));
    stripes = stripes.map((other) => (other === widest ? { ...other, cells: short } : other));
  }
}

function shortened(cell: string, width: number): string {
  return cell.length <= width ? cell : `${cell.replace(/…$/, '').slice(0, width - 1)}…`;
}

function fits(table: readonly Stripe[], width: number): boolean {
  return total(table) <= width;
}

function total(table: readonly Stripe[]): number {
  return table.reduce((sum, stripe) => sum + widthOf(stripe), (table.length - 1) * GAP);
}

function widthOf({ column, cells }: Stripe): number {
  return cells.reduce((widest, cell) => Math.max(widest, cell.length), column.title.length);
}

/** "Label:  value" lines, values aligned, and broken up where they are wider; entries without a value are left out. */
export function formatFields(
  fields: readonly (readonly [label: string, value: string | undefined])[],
  width = Number.POSITIVE_INFINITY,
): string {
  const shown = fields.flatMap(([label, value = '']) => (value === '' ? [] : [[label, value] as const]));
  const longest = Math.max(0, ...shown.map(([label]) => label.length));
  const valueAt = longest + 3;
  return shown.map(([label, value]) => `${`${label}:`.padEnd(valueAt)}${wrapped(value, valueAt, width)}\n`).join('');
}

function pad(cell: string, width: number, align: 'left' | 'right'): string {
  return align === 'right' ? cell.padStart(width) : cell.padEnd(width);
}
