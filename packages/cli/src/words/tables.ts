// Plain columns for people: no borders, two spaces between, numbers to the right.

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** One line a row, the titles first; no trailing blanks. An empty list gives the titles alone. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((column, i) => Math.max(column.title.length, ...rows.map((row) => (row[i] ?? '').length)));
  const lines = [columns.map((column) => column.title), ...rows].map((cells) =>
    columns
      .map((column, i) => pad(cells[i] ?? '', widths[i]!, column.align ?? 'left'))
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** "Label:  value" lines, values aligned; entries without a value are left out. */
export function formatFields(fields: readonly (readonly [label: string, value: string | undefined])[]): string {
  const shown = fields.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(0, ...shown.map(([label]) => label.length));
  return shown.map(([label, value]) => `${`${label}:`.padEnd(width + 1)}  ${value}\n`).join('');
}

function pad(cell: string, width: number, align: 'left' | 'right'): string {
  return align === 'right' ? cell.padStart(width) : cell.padEnd(width);
}
