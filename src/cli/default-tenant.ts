/** Whose images and functions are meant where no tenant is named. */
export const defaultTenant = 'default';
