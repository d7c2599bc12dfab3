/**
 * catalog: tenants, images, functions and roots in SQL. SQLite for one machine; the SQL itself
 * knows no dialect.
 */

export * from './errors.ts';
export * from './records.ts';
export * from './sqlite-catalog.ts';
