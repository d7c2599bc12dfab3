// Its packages are there, and it imports none of them.
exports.handler = async (event) => event;
