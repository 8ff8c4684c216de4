export const details = "The details of v1.";
