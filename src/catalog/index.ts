/**
 * catalog: tenants, images, functions and roots in SQL. SQLite for one machine; the SQL itself
 * knows no dialect.
 */

export * from './access-keys.ts';
export * from './catalog.ts';
export * from './errors.ts';
export * from './function-records.ts';
export * from './image-records.ts';
export * from './sqlite-catalog.ts';
